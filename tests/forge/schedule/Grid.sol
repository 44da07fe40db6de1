// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IDispatch} from "../../../contracts/interfaces/IDispatch.sol";
import {ILineRegistry} from "../../../contracts/interfaces/ILineRegistry.sol";
import {ISettlement} from "../../../contracts/interfaces/ISettlement.sol";
import {IStationRegistry, Rules, Said, Service} from "../../../contracts/interfaces/IStationRegistry.sol";
import {VM, Vm, checkEqual} from "../support/Vm.sol";

/// @dev Both faces of the contract.
interface IDispatchAll is IDispatch, IStationRegistry {}

/// @title Grid
/// @notice The scheduling chain's half of the network without the lock: the company, stations and users, as deployed
/// for real. Stations have the paper's rules: k = 10, two units reserved a user.
abstract contract Grid {
    uint256 internal constant UNIT = 1_000;
    uint256 internal constant SUPPLY = 1_000_000_000;
    uint16 internal constant K = 10;
    uint48 internal constant RESERVE = 2_000;
    uint32 internal constant IDLE_BLOCKS = 300;
    uint40 internal constant PERIOD = 30 days;

    Service internal constant BUY = Service.Supply;
    Service internal constant SELL = Service.Acquire;

    address internal immutable COMPANY = address(uint160(uint256(keccak256("company"))));
    address internal immutable STRANGER = address(uint160(uint256(keccak256("stranger"))));

    address internal manager;
    IERC20 internal rights;
    IDispatchAll internal dispatch;
    ILineRegistry internal lines;
    ISettlement internal settlement;

    constructor() {
        VM.warp(1_700_000_000);
        manager = VM.deployCode("NetworkManager.sol", abi.encode(COMPANY));
        rights = _deployRights();
        dispatch = IDispatchAll(
            VM.deployCode(
                "Dispatch.sol", abi.encode(manager, rights, COMPANY, UNIT, Rules(K, RESERVE, IDLE_BLOCKS), PERIOD)
            )
        );
        lines = dispatch.LINES();
        settlement = dispatch.SETTLEMENT();
        VM.prank(COMPANY);
        rights.approve(address(settlement), type(uint256).max);
    }

    function _deployRights() internal virtual returns (IERC20) {
        return IERC20(VM.deployCode("EnergyRights.sol", abi.encode(SUPPLY, COMPANY)));
    }

    /* PARTIES */

    function _key(uint32 station) internal pure returns (address) {
        return address(uint160(0x57A710000 + uint256(station)));
    }

    /// @dev Registers a station; amounts in units.
    function _register(uint256 capacity, uint256 stored, bool canSupply, bool canAcquire)
        internal
        returns (uint32 station)
    {
        return _registerServing(capacity, stored, canSupply, canAcquire, 0, 0);
    }

    /// @dev Registers a station that serves users already.
    function _registerServing(
        uint256 capacity,
        uint256 stored,
        bool canSupply,
        bool canAcquire,
        uint24 buyers,
        uint24 sellers
    ) internal returns (uint32 station) {
        address key = _key(dispatch.stationCount() + 1);
        VM.prank(COMPANY);
        return dispatch.register(
            IStationRegistry.StationTerms(
                key, uint40(capacity * UNIT), uint40(stored * UNIT), buyers, sellers, canSupply, canAcquire
            )
        );
    }

    /// @dev Gives a station rights to buy with.
    function _fund(uint32 station, uint256 units) internal {
        VM.prank(COMPANY);
        settlement.fund(station, units * UNIT);
    }

    /// @dev Gives a user rights, which the settlement may take.
    function _welcome(address user, uint256 units) internal {
        VM.prank(COMPANY);
        rights.transfer(user, units * UNIT);
        VM.prank(user);
        rights.approve(address(settlement), type(uint256).max);
    }

    function _line(address user, uint32 station, uint16 loss) internal {
        ILineRegistry.LineTerms[] memory terms = new ILineRegistry.LineTerms[](1);
        terms[0] = ILineRegistry.LineTerms(station, loss);
        VM.prank(COMPANY);
        lines.setLines(user, terms);
    }

    /* ACTS */

    function _connect(address user, Service service) internal returns (uint32 station) {
        return _connect(user, service, 0);
    }

    function _connect(address user, Service service, uint64 reading) internal returns (uint32 station) {
        VM.prank(user);
        return dispatch.connect(service, reading);
    }

    function _draw(address user, Service service, uint256 units, uint64 reading) internal returns (uint256 drawn) {
        VM.prank(user);
        return dispatch.draw(service, units, reading);
    }

    function _close(address user, Service service, uint64 reading) internal {
        VM.prank(user);
        dispatch.close(service, reading);
    }

    function _apply(address user, Service service, uint256 units, uint64 reading)
        internal
        returns (uint32 station, uint256 drawn)
    {
        VM.prank(user);
        return dispatch.applyFor(service, units, reading);
    }

    function _accept(address user, uint256 units, uint64 reading) internal returns (bool) {
        VM.prank(_key(_connection(user, SELL).station));
        return dispatch.accept(user, units, reading);
    }

    /// @dev A report at the station's counter of now; the amount in watt-hours.
    function _report(uint32 station, uint256 stored, bool canSupply, bool canAcquire) internal {
        IStationRegistry.Report memory said = _reportOf(_state(station).transfers, stored, canSupply, canAcquire);
        VM.prank(_key(station));
        dispatch.report(station, said);
    }

    /// @dev A report that leaves nothing alone.
    function _reportOf(uint40 transfers, uint256 stored, bool canSupply, bool canAcquire)
        internal
        pure
        returns (IStationRegistry.Report memory)
    {
        return IStationRegistry.Report(transfers, true, uint40(stored), _said(canSupply), _said(canAcquire));
    }

    function _said(bool flag) internal pure returns (Said) {
        return flag ? Said.Yes : Said.No;
    }

    /* STATE */

    function _state(uint32 station) internal view returns (IStationRegistry.StationState memory) {
        return dispatch.stationState(station);
    }

    function _connection(address user, Service service) internal view returns (IDispatch.Connection memory) {
        return dispatch.connectionOf(user, service);
    }

    /// @dev What a meter of `user` should read after all that its connection delivered, rounded down.
    function _reading(address user, Service service) internal view returns (uint64) {
        IDispatch.Connection memory c = _connection(user, service);
        uint256 sent = c.delivered * UNIT;
        uint256 arriving = 10_000 - uint256(c.loss);
        return uint64(service == BUY ? sent * arriving / 10_000 : sent * 10_000 / arriving);
    }

    function _checkStation(uint32 station, uint256 stored, bool canSupply, bool canAcquire) internal view {
        IStationRegistry.StationState memory s = _state(station);
        checkEqual(s.stored, stored, "stored");
        checkEqual(s.canSupply ? 1 : 0, canSupply ? 1 : 0, "can supply");
        checkEqual(s.canAcquire ? 1 : 0, canAcquire ? 1 : 0, "can acquire");
    }

    function _checkConnected(uint32 station, uint256 buyers, uint256 sellers) internal view {
        checkEqual(_state(station).connectedSupply, buyers, "connected for supply");
        checkEqual(_state(station).connectedAcquire, sellers, "connected for acquisition");
    }

    /* RECORD */

    /// @dev How many of the logs are of event `signature`, by whatever contract.
    function _count(Vm.Log[] memory logs, bytes32 signature) internal pure returns (uint256 count) {
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] == signature) ++count;
        }
    }

    /// @dev The units on record between a station and a user, whatever else the logs hold.
    function _units(Vm.Log[] memory logs, uint32 station, address user, Service service)
        internal
        pure
        returns (uint256 count)
    {
        for (uint256 i; i < logs.length; ++i) {
            if (
                logs[i].topics[0] == IDispatch.UnitTransferred.selector && uint256(logs[i].topics[1]) == station
                    && address(uint160(uint256(logs[i].topics[2]))) == user
                    && abi.decode(logs[i].data, (Service)) == service
            ) ++count;
        }
    }
}
