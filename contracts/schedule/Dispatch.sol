// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {End, IDispatch} from "../interfaces/IDispatch.sol";
import {ILineRegistry} from "../interfaces/ILineRegistry.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStationRegistry, Rules, Service} from "../interfaces/IStationRegistry.sol";
import {Permit} from "../interfaces/ITransactionLock.sol";
import {CallerPermit} from "../token/CallerPermit.sol";
import {MAX_LOSS, PackedLines} from "./PackedLines.sol";
import {LineRegistry} from "./LineRegistry.sol";
import {Settlement} from "./Settlement.sol";
import {Station, StationLib} from "./Station.sol";
import {StationRegistry} from "./StationRegistry.sol";

/// @title Dispatch
/// @notice See {IDispatch}.
contract Dispatch is IDispatch, StationRegistry, ReentrancyGuardTransient {
    using StationLib for Station;
    using PackedLines for uint256;

    /// @inheritdoc IDispatch
    ILineRegistry public immutable LINES;

    /// @inheritdoc IDispatch
    ISettlement public immutable SETTLEMENT;

    mapping(address user => mapping(Service => Connection)) internal _connections;

    /// @param manager The `AccessManager` that changes of a rule go through.
    /// @param rights What energy is paid with.
    /// @param company The energy company on this chain.
    /// @param unit One unit of energy, in watt-hours.
    /// @param period How long a station's period lasts, in seconds.
    constructor(address manager, IERC20 rights, address company, uint32 unit, Rules memory initialRules, uint40 period)
        StationRegistry(manager, unit, initialRules)
    {
        LINES = new LineRegistry(manager);
        SETTLEMENT = new Settlement(manager, rights, company, period);
    }

    /// @inheritdoc IStationRegistry
    function register(StationTerms calldata terms) public override returns (uint32 station) {
        station = super.register(terms);

        SETTLEMENT.open(station);
    }

    /* VIEWS */

    /// @inheritdoc IDispatch
    function connectionOf(address user, Service service) public view returns (Connection memory) {
        return _connections[user][service];
    }

    /// @inheritdoc IDispatch
    function isConnected(address user, Service service) external view returns (bool) {
        Connection memory c = connectionOf(user, service);
        return _isConnected(c, _load(c.station), service);
    }

    /// @inheritdoc IDispatch
    function assigned(address user, Service service) external view returns (uint32 station, uint16 loss) {
        uint256 line;
        for (uint256 place;; ++place) {
            (line, place) = _nextAvailable(user, service, place);
            if (line == 0) return (0, 0);

            (bool admitted,) = _admits(line.stationIn(), _load(line.stationIn()), service);
            if (admitted) return (line.stationIn(), line.lossIn());
        }
    }

    function _isConnected(Connection memory c, Station memory s, Service service) internal pure returns (bool) {
        return c.open && c.epoch == s.epoch(service);
    }

    /* APPLICATION */

    /// @inheritdoc IDispatch
    function connect(Service service, uint64 reading) external nonReentrant returns (uint32 station) {
        (station,) = _apply(service, 1, reading, false);
    }

    /// @inheritdoc IDispatch
    function applyFor(Service service, uint256 units, uint64 reading)
        external
        nonReentrant
        returns (uint32 station, uint256 drawn)
    {
        return _apply(service, units, reading, true);
    }

    /// @inheritdoc IDispatch
    function applyWithPermit(uint256 units, uint64 reading, Permit calldata permit)
        external
        nonReentrant
        returns (uint32 station, uint256 drawn)
    {
        CallerPermit.useFor(SETTLEMENT.RIGHTS(), address(SETTLEMENT), permit);
        return _apply(Service.Supply, units, reading, true);
    }

    function _apply(Service service, uint256 units, uint64 reading, bool complete)
        internal
        returns (uint32 station, uint256 drawn)
    {
        Connection memory c = connectionOf(msg.sender, service);
        require(units != 0, ZeroUnits());
        require(!_isConnected(c, _load(c.station), service), AlreadyConnected(msg.sender, service, c.station));
        _checkNothingDue(c);
        uint256 affordable;
        if (service == Service.Supply) {
            affordable = SETTLEMENT.affordable(msg.sender);
            require(affordable >= UNIT, InsufficientRights(msg.sender, affordable, UNIT));
        }

        if (c.acknowledged != c.delivered) _meterUser(c, service, reading);
        c.open = false;

        (uint256 line, Station memory s, uint256 free) = _assign(service);
        if (line == 0) {
            _connections[msg.sender][service] = c;
            emit NoStationAvailable(msg.sender, service);
            return (0, 0);
        }

        station = line.stationIn();
        s.connect(service);
        c = Connection(station, s.epoch(service), line.lossIn(), 0, 0, 0, 0, true);
        emit Connected(msg.sender, station, service, c.loss, c.epoch);

        drawn = _draw(service, c, s, units, service == Service.Supply ? affordable : free, complete);
    }

    /// @dev Of the caller's lines the first whose station has the flag and passes its own check. A station that fails
    /// it loses the flag.
    /// @return line The line, or 0 where there is none.
    /// @return s Its station.
    /// @return free What that station can spend, for acquisition.
    function _assign(Service service) internal returns (uint256 line, Station memory s, uint256 free) {
        for (uint256 place;; ++place) {
            (line, place) = _nextAvailable(msg.sender, service, place);
            if (line == 0) return (0, s, 0);

            uint32 station = line.stationIn();
            s = _load(station);
            bool admitted;
            (admitted, free) = _admits(station, s, service);
            if (admitted) return (line, s, free);

            s.clear(service);
            _store(station, s);
            emit FlagCleared(station, service);
        }
    }

    /// @dev The station's own check at an application.
    /// @return admitted Whether it takes one more user.
    /// @return free What it can spend, for acquisition.
    function _admits(uint32 station, Station memory s, Service service)
        internal
        view
        returns (bool admitted, uint256 free)
    {
        if (!s.admits(service, rules.reservePerUser, UNIT)) return (false, 0);
        if (service == Service.Supply) return (true, 0);

        free = SETTLEMENT.freeOf(station);
        admitted = free >= UNIT;
    }

    /// @dev The first of the user's lines, from `place` on, that is not suspended and whose station has the flag.
    /// @return line The line, or 0 where there is none.
    /// @return next Its place.
    function _nextAvailable(address user, Service service, uint256 place)
        internal
        view
        returns (uint256 line, uint256 next)
    {
        uint8 flag = StationLib.flag(service);
        while (true) {
            uint256 word = LINES.wordOf(user, place / PackedLines.PER_WORD);
            bool full = word.isFull();
            word >>= place % PackedLines.PER_WORD * PackedLines.BITS;
            for (; word != 0; word = word.rest()) {
                line = word.first();
                if (!line.isSuspended() && _stations[line.stationIn()].flags & flag != 0) return (line, place);
                ++place;
            }
            if (!full) return (0, place);
        }
    }

    /* DRAW */

    /// @inheritdoc IDispatch
    function draw(Service service, uint256 units, uint64 reading) external nonReentrant returns (uint256 drawn) {
        Connection memory c = connectionOf(msg.sender, service);
        Station memory s = _load(c.station);
        require(units != 0, ZeroUnits());
        require(_isConnected(c, s, service), NotConnected(msg.sender, service));
        _checkNothingDue(c);

        if (!_meterUser(c, service, reading)) {
            _disconnect(msg.sender, service, c, s, End.Disputed);
            _save(msg.sender, service, c, s);
            return 0;
        }

        uint256 affordable =
            service == Service.Supply ? SETTLEMENT.affordable(msg.sender) : SETTLEMENT.freeOf(c.station);
        return _draw(service, c, s, units, affordable, false);
    }

    /// @dev Moves units of the caller's, whose connection was just made or is open, until one of these ends it.
    /// @param affordable What the side that pays can pay.
    /// @param complete Whether the connection ends with the last of `units`.
    function _draw(
        Service service,
        Connection memory c,
        Station memory s,
        uint256 units,
        uint256 affordable,
        bool complete
    ) internal returns (uint256 drawn) {
        bool supply = service == Service.Supply;
        uint256 reserve = rules.reservePerUser;
        uint256 limit = rules.unitsPerConnection;
        uint256 affordableUnits = affordable / UNIT;

        while (c.open && drawn != units) {
            // A report or a settlement may have taken what there was when the connection was made.
            if (supply && affordableUnits == 0) {
                _disconnect(msg.sender, service, c, s, End.Rights);
                break;
            }
            if (affordableUnits == 0 || s.level(service) < UNIT) {
                _disconnectAll(service, c, s);
                break;
            }

            s.draw(service, UNIT);
            // one below the limit at most, which has 16 bits
            ++c.drawn;
            ++drawn;
            bool spent = drawn == affordableUnits;
            if (supply) {
                c.delivered = c.drawn;
                emit UnitTransferred(c.station, msg.sender, service);
            }

            if (!s.sustains(service, reserve) || (spent && !supply)) _disconnectAll(service, c, s);
            else if (c.drawn >= limit) _disconnect(msg.sender, service, c, s, End.Limit);
            else if (spent) _disconnect(msg.sender, service, c, s, End.Rights);
        }
        if (complete && c.open) _disconnect(msg.sender, service, c, s, End.Closed);

        if (drawn != 0) {
            // 40 bits of blocks
            c.activeBlock = uint40(block.number);
            if (!supply) emit UnitsAgreed(c.station, msg.sender, drawn);
        }
        _save(msg.sender, service, c, s);

        if (drawn == 0) return 0;
        if (supply) SETTLEMENT.collect(c.station, msg.sender, drawn * UNIT);
        else SETTLEMENT.setAside(c.station, drawn * UNIT);
    }

    function _checkNothingDue(Connection memory c) internal view {
        require(c.drawn == c.delivered, UnitsDue(msg.sender, c.station, c.drawn - c.delivered));
    }

    /* ACCEPTANCE */

    /// @inheritdoc IDispatch
    function accept(address user, uint256 units, uint64 reading) external nonReentrant returns (bool accepted) {
        Connection memory c = connectionOf(user, Service.Acquire);
        uint256 due = c.drawn - c.delivered;
        _checkStation(c.station);
        require(units != 0 && units <= due, NotDue(user, units, due));

        uint256 delivered = c.delivered + units;
        accepted = _meter(c.station, user, Service.Acquire, true, delivered, reading, delivered * UNIT, 1);
        Station memory s = _load(c.station);
        if (!accepted) {
            if (c.open) _disconnect(user, Service.Acquire, c, s, End.Disputed);
            _release(user, Service.Acquire, c, s);
            return false;
        }

        // at most c.drawn
        c.delivered = uint16(delivered);
        c.activeBlock = uint40(block.number);
        s.takeIn(units, UNIT);
        _save(user, Service.Acquire, c, s);
        for (uint256 i; i < units; ++i) {
            emit UnitTransferred(c.station, user, Service.Acquire);
        }

        SETTLEMENT.pay(c.station, user, units * UNIT);
    }

    /* END */

    /// @inheritdoc IDispatch
    function close(Service service, uint64 reading) external nonReentrant {
        Connection memory c = connectionOf(msg.sender, service);
        require(c.open || c.drawn != c.delivered || c.delivered != c.acknowledged, NotConnected(msg.sender, service));

        Station memory s = _load(c.station);
        bool agreed = _meterUser(c, service, reading);
        if (c.open) _disconnect(msg.sender, service, c, s, agreed ? End.Closed : End.Disputed);
        _release(msg.sender, service, c, s);
    }

    /// @inheritdoc IDispatch
    function closeIdle(address user, Service service) external nonReentrant {
        Connection memory c = connectionOf(user, service);
        Station memory s = _load(c.station);
        require(_isConnected(c, s, service) || c.drawn != c.delivered, NotConnected(user, service));
        uint256 idle = block.number - c.activeBlock;
        require(idle >= rules.idleBlocks, NotIdle(idle, rules.idleBlocks));

        if (c.open) _disconnect(user, service, c, s, End.Idle);
        _release(user, service, c, s);
    }

    /// @dev Ends an open connection. It lowers the station's users if it is among them still.
    function _disconnect(address user, Service service, Connection memory c, Station memory s, End end) internal {
        c.open = false;
        if (c.epoch == s.epoch(service)) s.disconnect(service);

        emit Disconnected(user, c.station, service, end);
    }

    /// @dev Ends all connections of a station for a service; the caller's is one of them.
    function _disconnectAll(Service service, Connection memory c, Station memory s) internal {
        c.open = false;
        s.clear(service);
        s.disconnectAll(service);

        emit Disconnected(msg.sender, c.station, service, End.Station);
        emit AllDisconnected(c.station, service, s.epoch(service));
    }

    /// @dev Gives back the room and the rights of units that were not accepted, and saves both sides.
    function _release(address user, Service service, Connection memory c, Station memory s) internal {
        uint256 due = c.drawn - c.delivered;
        if (due != 0) {
            c.drawn = c.delivered;
            s.forgo(due, UNIT);
            emit UnitsReleased(c.station, user, due);
        }
        _save(user, service, c, s);

        if (due != 0) SETTLEMENT.release(c.station, due * UNIT);
    }

    function _save(address user, Service service, Connection memory c, Station memory s) internal {
        _connections[user][service] = c;
        _store(c.station, s);
    }

    /* METERS */

    /// @dev Holds the caller's meter to all units delivered, and settles them: acknowledged, or disputed.
    function _meterUser(Connection memory c, Service service, uint256 reading) internal returns (bool agreed) {
        uint256 units = c.delivered;
        c.acknowledged = c.delivered;
        uint256 arriving = MAX_LOSS - c.loss;
        (uint256 expected, uint256 scale) =
            service == Service.Supply ? (units * UNIT * arriving, MAX_LOSS) : (units * UNIT * MAX_LOSS, arriving);
        return _meter(c.station, msg.sender, service, false, units, reading, expected, scale);
    }

    /// @dev Records a reading: `expected / scale`, give or take a watt-hour a unit, or a dispute.
    function _meter(
        uint32 station,
        address user,
        Service service,
        bool byStation,
        uint256 units,
        uint256 reading,
        uint256 expected,
        uint256 scale
    ) internal returns (bool agreed) {
        uint256 scaled = reading * scale;
        agreed = (scaled < expected ? expected - scaled : scaled - expected) <= units * scale;
        if (agreed) {
            emit Metered(station, user, service, byStation, units, reading);
        } else {
            // No reading is right for a sale over a line that loses everything.
            uint256 right = scale == 0 ? type(uint256).max : expected / scale;
            emit MeterDisputed(station, user, service, byStation, units, reading, right);
            LINES.suspend(user, station);
        }
    }
}
