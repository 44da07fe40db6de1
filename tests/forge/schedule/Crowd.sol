// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDispatch} from "../../../contracts/interfaces/IDispatch.sol";
import {ISettlement} from "../../../contracts/interfaces/ISettlement.sol";
import {IStationRegistry, Said, Service} from "../../../contracts/interfaces/IStationRegistry.sol";
import {VM, check, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @dev A station as it must be. Arrays are by service; amounts in watt-hours.
struct StationModel {
    uint256 capacity;
    uint256 stored;
    uint256 coming;
    uint256 transfers;
    uint256 free;
    uint256 due;
    uint256 periodStart;
    bool[2] flag;
    uint256[2] users;
    uint256[2] epoch;
}

/// @dev A user's connection as it must be.
struct ConnectionModel {
    uint32 station;
    uint256 epoch;
    uint256 loss;
    uint256 drawn;
    uint256 delivered;
    uint256 acknowledged;
    uint256 activeBlock;
    bool open;
}

/// @dev What the actions did, to show that they did it.
struct CrowdTally {
    uint256 actions;
    uint256 connections;
    uint256 refusals;
    uint256 nobody;
    uint256 units;
    uint256 limits;
    uint256 exhausted;
    uint256 poor;
    uint256 disputes;
    uint256 accepted;
    uint256 released;
    uint256 idle;
    uint256 settled;
    uint256 reports;
    uint256 contradicted;
    uint256 cleared;
}

/// @title Crowd
/// @notice Users, stations and the company act at random, each step held to a model that is DESIGN's listing word by
/// word: one unit at a time, the best line by looking at all of them. Every revert is expected by its error.
contract Crowd is Grid {
    uint32 public constant STATIONS = 6;
    uint256 public constant USERS = 5;
    uint24 public constant PRESET = 2;
    uint256 internal constant FLOAT = 8 * UNIT;

    address[] public users;
    mapping(uint32 station => StationModel) internal stations;
    mapping(address user => mapping(Service => ConnectionModel)) internal connections;
    mapping(address user => uint256) public balances;

    /// @dev 1 + loss; 0 for no line.
    mapping(address user => mapping(uint32 station => uint256)) internal lossOf;
    mapping(address user => mapping(uint32 station => bool)) internal suspended;

    CrowdTally internal _tally;
    uint256 internal entropy;

    modifier random(uint256 seed) {
        entropy = seed;
        ++_tally.actions;
        _;
    }

    constructor() {
        for (uint32 id = 1; id <= STATIONS; ++id) {
            uint24 preset = id == 1 ? PRESET : 0;
            _registerServing(30, 15, true, true, preset, preset);
            StationModel storage s = stations[id];
            (s.capacity, s.stored, s.periodStart) = (30 * UNIT, 15 * UNIT, block.timestamp);
            (s.flag, s.users) = ([true, true], [uint256(preset), preset]);
            VM.prank(COMPANY);
            settlement.setFloat(id, FLOAT);
            if (id % 2 == 0) continue;
            _fund(id, 12);
            s.free = 12 * UNIT;
        }
        for (uint256 i; i < USERS; ++i) {
            address user = address(uint160(uint256(keccak256(abi.encode("user", i)))));
            users.push(user);
            _welcome(user, 40);
            balances[user] = 40 * UNIT;
            for (uint32 id = 1; id <= STATIONS; ++id) {
                if ((i + id) % 4 != 0) _drawLine(user, id, uint16((i * 7 + id * 3) % 5) * 1234);
            }
        }
    }

    /* VIEWS OF THE MODEL */

    function tally() external view returns (CrowdTally memory) {
        return _tally;
    }

    function stationModel(uint32 station) external view returns (StationModel memory) {
        return stations[station];
    }

    function connectionModel(address user, Service service) external view returns (ConnectionModel memory) {
        return connections[user][service];
    }

    function parts() external view returns (address, address, address, address) {
        return (address(rights), address(dispatch), address(settlement), COMPANY);
    }

    /* ACTIONS OF USERS */

    function applyOrConnect(uint256 seed) external random(seed) {
        address user = _user();
        Service service = _service();
        bool complete = _draws(2) == 0;
        uint256 units = complete ? 1 + _draws(13) : 1;
        ConnectionModel storage c = connections[user][service];
        (uint64 reading, bool honest) = _meterOf(user, service);
        bytes memory call = complete
            ? abi.encodeCall(IDispatch.applyFor, (service, units, reading))
            : abi.encodeCall(IDispatch.connect, (service, reading));

        if (_connected(c, service)) return _refused(user, call, IDispatch.AlreadyConnected.selector);
        if (c.drawn != c.delivered) return _refused(user, call, IDispatch.UnitsDue.selector);
        if (service == BUY && balances[user] < UNIT) {
            return _refused(user, call, IDispatch.InsufficientRights.selector);
        }
        bool disputed = c.acknowledged != c.delivered && !honest;
        if (disputed) _suspend(user, c.station);
        c.acknowledged = c.delivered;
        c.open = false;

        uint32 station = _assign(user, service);
        // The view cannot know of a dispute that this application begins with.
        if (!disputed) _checkAssigned(user, service, station);
        uint256 drawn = station == 0 ? 0 : _serve(user, service, station, units, complete);
        if (station == 0) ++_tally.nobody;

        bytes memory output = _done(user, call);
        checkEqual(abi.decode(output, (uint256)), station, "station");
        if (complete) checkEqual(_second(output), drawn, "units of an application");
        _checkUser(user, service);
    }

    function draw(uint256 seed) external random(seed) {
        (address user, Service service) = _party(true);
        uint256 units = 1 + _draws(12);
        ConnectionModel storage c = connections[user][service];
        (uint64 reading, bool honest) = _meterOf(user, service);
        bytes memory call = abi.encodeCall(IDispatch.draw, (service, units, reading));

        if (!_connected(c, service)) return _refused(user, call, IDispatch.NotConnected.selector);
        if (c.drawn != c.delivered) return _refused(user, call, IDispatch.UnitsDue.selector);

        c.acknowledged = c.delivered;
        uint256 drawn;
        if (honest) {
            drawn = _transfer(user, service, units);
        } else {
            _suspend(user, c.station);
            _leave(c, service);
        }

        checkEqual(abi.decode(_done(user, call), (uint256)), drawn, "units of a draw");
        _checkUser(user, service);
    }

    function close(uint256 seed) external random(seed) {
        (address user, Service service) = _party(true);
        ConnectionModel storage c = connections[user][service];
        (uint64 reading, bool honest) = _meterOf(user, service);
        bytes memory call = abi.encodeCall(IDispatch.close, (service, reading));

        if (!c.open && c.drawn == c.delivered && c.delivered == c.acknowledged) {
            return _refused(user, call, IDispatch.NotConnected.selector);
        }

        c.acknowledged = c.delivered;
        if (!honest) _suspend(user, c.station);
        if (c.open) _leave(c, service);
        _release(c);

        _done(user, call);
        _checkUser(user, service);
    }

    function closeIdle(uint256 seed) external random(seed) {
        (address user, Service service) = _party(true);
        ConnectionModel storage c = connections[user][service];
        bytes memory call = abi.encodeCall(IDispatch.closeIdle, (user, service));
        if (_draws(2) == 0) VM.roll(block.number + IDLE_BLOCKS);

        if (!_connected(c, service) && c.drawn == c.delivered) {
            return _refused(STRANGER, call, IDispatch.NotConnected.selector);
        }
        if (block.number - c.activeBlock < IDLE_BLOCKS) {
            return _refused(STRANGER, call, IDispatch.NotIdle.selector);
        }

        if (c.open) _leave(c, service);
        _release(c);
        ++_tally.idle;

        _done(STRANGER, call);
        _checkUser(user, service);
    }

    function give(uint256 seed) external random(seed) {
        (address from, address to) = (_user(), _user());
        uint256 amount = _draws(balances[from] + 1);
        balances[from] -= amount;
        balances[to] += amount;
        VM.prank(from);
        rights.transfer(to, amount);
    }

    /* ACTIONS OF STATIONS */

    function accept(uint256 seed) external random(seed) {
        (address user,) = _party(false);
        ConnectionModel storage c = connections[user][SELL];
        uint256 due = c.drawn - c.delivered;
        uint256 units = due == 0 || _draws(6) == 0 ? due + 1 : 1 + _draws(due);
        bool honest = _draws(8) != 0;
        uint256 arrived = (c.delivered + units) * UNIT;
        bytes memory call = abi.encodeCall(IDispatch.accept, (user, units, uint64(honest ? arrived : arrived / 2)));
        address key = _key(c.station);

        if (c.station == 0) return _refused(key, call, IStationRegistry.NotTheStation.selector);
        if (units > due) return _refused(key, call, IDispatch.NotDue.selector);

        if (honest) {
            c.delivered += units;
            c.activeBlock = block.number;
            _arrive(stations[c.station], units);
            balances[user] += units * UNIT;
            _tally.accepted += units;
        } else {
            _suspend(user, c.station);
            if (c.open) _leave(c, SELL);
            _release(c);
        }

        checkEqual(abi.decode(_done(key, call), (bool)) ? 1 : 0, honest ? 1 : 0, "accepted");
        _checkUser(user, SELL);
    }

    function report(uint256 seed) external random(seed) {
        uint32 station = _station();
        StationModel storage s = stations[station];
        bool hasStored = _draws(4) != 0;
        uint256 said = _draws(s.capacity - s.coming + 1);
        Said[2] memory flag = [_drawSaid(), _drawSaid()];
        uint256 transfers = s.transfers + (_draws(8) == 0 ? 1 : 0);
        uint256 stored = hasStored ? said : s.stored;
        bytes memory call = abi.encodeCall(
            IStationRegistry.report,
            (station, IStationRegistry.Report(uint40(transfers), hasStored, uint40(said), flag[0], flag[1]))
        );

        if (transfers != s.transfers) {
            return _refused(_key(station), call, IStationRegistry.ReportOvertaken.selector);
        }
        if (
            (flag[0] == Said.Yes && stored <= RESERVE * s.users[0])
                || (flag[1] == Said.Yes && s.capacity - s.coming - stored <= RESERVE * s.users[1])
        ) {
            ++_tally.contradicted;
            return _refused(_key(station), call, IStationRegistry.FlagContradicted.selector);
        }

        s.stored = stored;
        for (uint256 side; side < 2; ++side) {
            if (flag[side] != Said.Nothing) s.flag[side] = flag[side] == Said.Yes;
        }
        ++_tally.reports;

        _done(_key(station), call);
        _checkModel(station);
    }

    /* ACTIONS OF THE COMPANY, AND OF ANYONE */

    function settle(uint256 seed) external random(seed) {
        uint32 station = _station();
        StationModel storage s = stations[station];
        if (_draws(2) == 0) VM.warp(block.timestamp + PERIOD);
        bytes memory call = abi.encodeCall(ISettlement.settle, (station));

        if (block.timestamp < s.periodStart + PERIOD) {
            VM.prank(STRANGER);
            (bool early, bytes memory output) = address(settlement).call(call);
            check(!early && bytes4(output) == ISettlement.PeriodNotOver.selector, "settled early");
            return;
        }

        (uint256 paid, uint256 granted) = settlement.settle(station);
        checkEqual(paid, s.free, "paid to the company");
        checkEqual(granted, FLOAT, "granted");
        s.free = FLOAT;
        s.periodStart = block.timestamp;
        ++_tally.settled;
        _checkModel(station);
    }

    function redraw(uint256 seed) external random(seed) {
        (address user, uint32 station) = (_user(), _station());
        if (lossOf[user][station] != 0 && _draws(4) == 0) {
            VM.prank(COMPANY);
            lines.removeLine(user, station);
            lossOf[user][station] = 0;
            suspended[user][station] = false;
        } else {
            _drawLine(user, station, uint16(_draws(6)) * 1111);
        }
    }

    function resolve(uint256 seed) external random(seed) {
        (address user, uint32 first) = (_user(), _station());
        for (uint32 i; i < STATIONS; ++i) {
            uint32 station = (first + i) % STATIONS + 1;
            if (!suspended[user][station]) continue;

            VM.prank(COMPANY);
            lines.restoreLine(user, station);
            suspended[user][station] = false;
            return;
        }
    }

    /* THE LISTING */

    /// @dev The best line of all whose station has the flag and passes its check; stations that fail it lose the flag.
    function _assign(address user, Service service) internal returns (uint32) {
        while (true) {
            uint32 best;
            for (uint32 id = 1; id <= STATIONS; ++id) {
                if (lossOf[user][id] == 0 || suspended[user][id] || !stations[id].flag[uint256(service)]) continue;
                if (best == 0 || lossOf[user][id] < lossOf[user][best]) best = id;
            }
            if (best == 0) return 0;

            StationModel storage s = stations[best];
            bool passes = _level(s, service) > RESERVE * (s.users[uint256(service)] + 1);
            if (passes && (service == BUY || s.free >= UNIT)) return best;
            s.flag[uint256(service)] = false;
            ++_tally.cleared;
        }
    }

    function _serve(address user, Service service, uint32 station, uint256 units, bool complete)
        internal
        returns (uint256 drawn)
    {
        StationModel storage s = stations[station];
        ConnectionModel storage c = connections[user][service];
        ++_tally.connections;
        ++s.users[uint256(service)];
        (c.station, c.epoch, c.loss, c.open) = (station, s.epoch[uint256(service)], lossOf[user][station] - 1, true);
        (c.drawn, c.delivered, c.acknowledged) = (0, 0, 0);

        drawn = _transfer(user, service, units);
        if (complete && c.open) _leave(c, service);
    }

    function _transfer(address user, Service service, uint256 units) internal returns (uint256 drawn) {
        ConnectionModel storage c = connections[user][service];
        StationModel storage s = stations[c.station];
        uint256 side = uint256(service);
        while (drawn < units) {
            if (service == BUY && balances[user] < UNIT) {
                ++_tally.poor;
                _leave(c, service);
                return drawn;
            }
            if (_level(s, service) < UNIT || (service == SELL && s.free < UNIT)) {
                _disconnectAll(c, service);
                return drawn;
            }

            ++drawn;
            ++c.drawn;
            ++_tally.units;
            c.activeBlock = block.number;
            if (service == BUY) {
                ++c.delivered;
                ++s.transfers;
                s.stored -= UNIT;
                s.free += UNIT;
                balances[user] -= UNIT;
            } else {
                s.coming += UNIT;
                s.free -= UNIT;
                s.due += UNIT;
            }

            if (_level(s, service) <= RESERVE * s.users[side] || (service == SELL && s.free < UNIT)) {
                _disconnectAll(c, service);
                return drawn;
            }
            if (c.drawn == K) {
                ++_tally.limits;
                _leave(c, service);
                return drawn;
            }
            if (service == BUY && balances[user] < UNIT) {
                ++_tally.poor;
                _leave(c, service);
                return drawn;
            }
        }
    }

    function _leave(ConnectionModel storage c, Service service) internal {
        if (_connected(c, service)) --stations[c.station].users[uint256(service)];
        c.open = false;
    }

    function _disconnectAll(ConnectionModel storage c, Service service) internal {
        StationModel storage s = stations[c.station];
        s.flag[uint256(service)] = false;
        s.users[uint256(service)] = 0;
        ++s.epoch[uint256(service)];
        c.open = false;
        ++_tally.exhausted;
    }

    function _arrive(StationModel storage s, uint256 units) internal {
        s.coming -= units * UNIT;
        s.stored += units * UNIT;
        s.due -= units * UNIT;
        s.transfers += units;
    }

    function _release(ConnectionModel storage c) internal {
        uint256 due = c.drawn - c.delivered;
        StationModel storage s = stations[c.station];
        c.drawn = c.delivered;
        s.coming -= due * UNIT;
        s.due -= due * UNIT;
        s.free += due * UNIT;
        _tally.released += due;
    }

    function _suspend(address user, uint32 station) internal {
        ++_tally.disputes;
        if (lossOf[user][station] != 0) suspended[user][station] = true;
    }

    function _drawLine(address user, uint32 station, uint16 loss) internal {
        _line(user, station, loss);
        lossOf[user][station] = uint256(loss) + 1;
    }

    function _connected(ConnectionModel storage c, Service service) internal view returns (bool) {
        return c.open && c.epoch == stations[c.station].epoch[uint256(service)];
    }

    function _level(StationModel storage s, Service service) internal view returns (uint256) {
        return service == BUY ? s.stored : s.capacity - s.stored - s.coming;
    }

    /* CALLS */

    function _done(address caller, bytes memory call) internal returns (bytes memory output) {
        VM.prank(caller);
        bool done;
        (done, output) = address(dispatch).call(call);
        check(done, "a call reverted that should not");
    }

    function _refused(address caller, bytes memory call, bytes4 reason) internal {
        VM.prank(caller);
        (bool done, bytes memory output) = address(dispatch).call(call);
        check(!done, "a call succeeded that should not");
        checkEqual(bytes32(bytes4(output)), bytes32(reason), "why a call was refused");
        ++_tally.refusals;
    }

    function _checkAssigned(address user, Service service, uint32 station) internal view {
        (uint32 expected,) = dispatch.assigned(user, service);
        checkEqual(expected, station, "who would be assigned");
    }

    function _second(bytes memory output) internal pure returns (uint256 word) {
        (, word) = abi.decode(output, (uint256, uint256));
    }

    function _checkUser(address user, Service service) internal view {
        ConnectionModel storage c = connections[user][service];
        IDispatch.Connection memory actual = _connection(user, service);
        bytes32 expected = keccak256(
            abi.encode(c.station, c.epoch, c.loss, c.drawn, c.delivered, c.acknowledged, c.activeBlock, c.open)
        );
        checkEqual(keccak256(abi.encode(actual)), expected, "connection");
        check(dispatch.isConnected(user, service) == (c.station != 0 && _connected(c, service)), "is connected");
        checkEqual(rights.balanceOf(user), balances[user], "rights of a user");
        if (c.station != 0) _checkModel(c.station);
    }

    function _checkModel(uint32 station) internal view {
        StationModel storage s = stations[station];
        IStationRegistry.StationState memory actual = _state(station);
        bytes32 expected = keccak256(
            abi.encode(
                _key(station),
                s.capacity,
                s.stored,
                s.coming,
                s.flag[0],
                s.flag[1],
                s.users[0],
                s.users[1],
                s.epoch[0],
                s.epoch[1],
                s.transfers
            )
        );
        checkEqual(keccak256(abi.encode(actual)), expected, "station");
        ISettlement.Account memory account = settlement.accountOf(station);
        checkEqual(account.held, s.free + s.due, "held");
        checkEqual(account.due, s.due, "due");
    }

    /* CHOICES */

    function _draws(uint256 bound) internal returns (uint256) {
        entropy = uint256(keccak256(abi.encode(entropy)));
        return entropy % bound;
    }

    function _user() internal returns (address) {
        return users[_draws(USERS)];
    }

    function _station() internal returns (uint32) {
        return uint32(_draws(STATIONS)) + 1;
    }

    function _service() internal returns (Service) {
        return Service(_draws(2));
    }

    /// @dev Mostly yes.
    function _drawSaid() internal returns (Said) {
        uint256 one = _draws(8);
        return one < 2 ? Said(one) : Said.Yes;
    }

    /// @dev Mostly one that is connected, or has units due.
    function _party(bool connected) internal returns (address user, Service service) {
        for (uint256 i; i < 6; ++i) {
            (user, service) = (_user(), connected ? _service() : SELL);
            ConnectionModel storage c = connections[user][service];
            if (connected ? c.open : c.drawn != c.delivered) break;
        }
    }

    /// @dev What the user's meter says of its connection, and whether it should agree.
    function _meterOf(address user, Service service) internal returns (uint64 reading, bool honest) {
        ConnectionModel storage c = connections[user][service];
        honest = _draws(10) != 0;
        uint256 arriving = 10_000 - c.loss;
        uint256 sent = c.delivered * UNIT;
        uint256 right = service == BUY ? sent * arriving / 10_000 : sent * 10_000 / arriving;
        if (honest) return (uint64(right + _draws(c.delivered + 1)), true);
        // Too little is less than nothing where nothing was delivered.
        return (uint64(c.delivered != 0 && _draws(2) == 0 ? right / 2 : right + c.delivered + 2), false);
    }
}
