// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DelayedAccess} from "../access/DelayedAccess.sol";
import {IStationRegistry, Rules, Said, Service} from "../interfaces/IStationRegistry.sol";
import {Station, StationLib} from "./Station.sol";

/// @title StationRegistry
/// @notice See {IStationRegistry}.
abstract contract StationRegistry is IStationRegistry, DelayedAccess {
    using StationLib for Station;

    /// @inheritdoc IStationRegistry
    uint256 public immutable UNIT;

    /// @inheritdoc IStationRegistry
    Rules public rules;

    /// @inheritdoc IStationRegistry
    uint32 public stationCount;

    mapping(uint32 station => Station) internal _stations;

    mapping(uint32 station => address) internal _keys;

    constructor(address manager, uint32 unit, Rules memory initial) DelayedAccess(manager) {
        require(unit != 0, ZeroUnit());

        UNIT = unit;
        _setRules(initial);
    }

    /* STATIONS */

    /// @inheritdoc IStationRegistry
    function stationState(uint32 station) external view returns (StationState memory) {
        Station memory s = _load(station);
        return StationState(
            _keys[station],
            s.capacity,
            s.stored,
            s.coming,
            s.available(Service.Supply),
            s.available(Service.Acquire),
            s.connectedSupply,
            s.connectedAcquire,
            s.epochSupply,
            s.epochAcquire,
            s.transfers
        );
    }

    /// @inheritdoc IStationRegistry
    function register(StationTerms calldata terms) public virtual restricted returns (uint32 station) {
        require(terms.key != address(0), ZeroKey());
        require(terms.stored <= terms.capacity, StoredExceedsCapacity(terms.stored, terms.capacity));

        station = ++stationCount;
        _keys[station] = terms.key;
        _stations[station] = Station(
            terms.capacity,
            terms.stored,
            0,
            0,
            terms.connectedSupply,
            terms.connectedAcquire,
            0,
            0,
            _flags(terms.canSupply, terms.canAcquire)
        );

        emit StationRegistered(station, terms);
    }

    /// @inheritdoc IStationRegistry
    function setStationKey(uint32 station, address newKey) external restricted {
        address key = _keys[station];
        require(key != address(0), UnknownStation(station));
        require(newKey != address(0), ZeroKey());

        _keys[station] = newKey;

        emit StationKeyChanged(station, key, newKey);
    }

    /// @inheritdoc IStationRegistry
    function report(uint32 station, Report calldata said) external {
        _checkStation(station);
        Station memory s = _load(station);
        require(said.transfers == s.transfers, ReportOvertaken(said.transfers, s.transfers));
        uint256 room = s.capacity - s.coming;
        require(!said.hasStored || said.stored <= room, StoredExceedsCapacity(said.stored, room));

        if (said.hasStored) s.stored = said.stored;
        _setFlag(s, Service.Supply, said.canSupply);
        _setFlag(s, Service.Acquire, said.canAcquire);
        _store(station, s);

        emit Reported(station, s.stored, s.available(Service.Supply), s.available(Service.Acquire), s.transfers);
    }

    /// @dev Functions of their own because a copy of either is large.
    function _load(uint32 station) internal view returns (Station memory) {
        return _stations[station];
    }

    function _store(uint32 station, Station memory s) internal {
        _stations[station] = s;
    }

    /// @dev Reverts unless the caller is the station itself.
    function _checkStation(uint32 station) internal view {
        address key = _keys[station];
        require(msg.sender == key, NotTheStation(msg.sender, key));
    }

    /// @dev Changes a flag as a report says. Reverts if it says yes and the station's numbers say no.
    function _setFlag(Station memory s, Service service, Said said) internal view {
        if (said == Said.Nothing) return;

        s.clear(service);
        if (said == Said.No) return;

        uint256 level = s.level(service);
        uint256 required = rules.reservePerUser * s.connected(service);
        require(level > required, FlagContradicted(service, level, required));
        s.raise(service);
    }

    function _flags(bool canSupply, bool canAcquire) internal pure returns (uint8) {
        return (canSupply ? StationLib.flag(Service.Supply) : 0) | (canAcquire ? StationLib.flag(Service.Acquire) : 0);
    }

    /* RULES */

    /// @inheritdoc IStationRegistry
    function setRules(Rules calldata newRules) external delayed {
        _setRules(newRules);
    }

    function _setRules(Rules memory newRules) internal {
        require(
            newRules.unitsPerConnection != 0 && newRules.idleBlocks != 0,
            InvalidRules(newRules.unitsPerConnection, newRules.idleBlocks)
        );

        emit RulesChanged(rules, newRules);
        rules = newRules;
    }
}
