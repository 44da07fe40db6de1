// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAliasRegistry} from "../../../contracts/interfaces/IAliasRegistry.sol";
import {IEnergyToken} from "../../../contracts/interfaces/IEnergyToken.sol";
import {IClaims} from "../../../contracts/interfaces/IClaims.sol";
import {ITransactionLock, Purpose} from "../../../contracts/interfaces/ITransactionLock.sol";
import {Chain, Network, SUPPLY, TRANSACTION} from "./Network.sol";
import {VM, Vm, check, checkEqual} from "./Vm.sol";

/// @dev One outbox and the inbox that follows it, as the model keeps them. Index 0 is before the first transfer.
struct Leg {
    bytes32[] word1;
    bytes32[] word2;
    bytes32[] outbox;
    /// Lots of all transfers up to the index.
    uint256[] total;
    /// Position of the inbox.
    uint256 settled;
}

/// @dev One end of a route, in lots.
struct End {
    uint256 lot;
    uint256 pool;
    /// Set aside for claims.
    uint256 funded;
    /// Claims that the pool was too short for.
    uint256 unfunded;
    /// All that ever went in: the allotment and every lock.
    uint256 locked;
    /// All that ever came out.
    uint256 released;
}

/// @dev A claim that waits, or waited.
struct Waiting {
    uint256 route;
    uint256 chain;
    bytes20 aliasId;
}

/// @dev What the actions did, to show that they did it.
struct Tally {
    uint256 actions;
    uint256 locks;
    uint256 purchases;
    uint256 packets;
    uint256 checkpoints;
    uint256 overlaps;
    uint256 limited;
    uint256 unconfirmed;
    uint256 stale;
    uint256 empty;
    uint256 rejected;
    uint256 credits;
    uint256 expired;
    uint256 unknown;
    uint256 short;
    uint256 returned;
    uint256 waiting;
    uint256 unfunded;
    uint256 claims;
    uint256 forged;
}

/// @title Traffic
/// @notice Random traffic over three routes of one transaction chain, each step held to a model of what must come out.
/// Route r goes to chain r: 1 at lots 1:1, 2 at lots 2:3, both honest; the sealers and the lock of chain 3 are
/// corrupt, and prove whatever `corrupt` made up. Nothing here may revert: every rejection is expected and caught.
contract Traffic is Network {
    uint256 public constant CORRUPT = 3;
    uint256 internal constant ACTORS = 5;
    uint256 internal constant SECRETS = 24;
    uint256 internal constant CHECKPOINT_INTERVAL = 256;
    uint256 internal constant BOXES = 16;

    address[] public actors;
    mapping(uint256 route => mapping(uint256 to => Leg)) internal legs;
    mapping(uint256 route => mapping(uint256 chain => End)) internal ends;
    mapping(uint256 route => mapping(uint256 chain => mapping(bytes20 aliasId => IClaims.Claim))) internal claims;
    mapping(uint256 chain => mapping(address owner => uint256)) public balances;
    mapping(uint256 chain => mapping(bytes20 aliasId => address)) internal owners;
    mapping(uint256 chain => uint256) public donated;
    uint256[4] internal confirmations = [0, 6, 3, 1];
    uint256 public issued;
    Tally internal _tally;

    Waiting[] internal waiting;
    mapping(bytes20 aliasId => uint256) internal actorOf;
    mapping(bytes20 aliasId => uint256) internal secretOf;

    uint256 internal entropy;

    modifier random(uint256 seed) {
        entropy = seed;
        ++_tally.actions;
        _;
    }

    constructor() {
        // Four sealers on one chain; signing is what most of a run's time goes to.
        _addChain(1);
        _addChain(4);
        _addChain(1);
        _addChain(1);
        _addMarket();
        _issue(COMPANY, 1_000_000);
        for (uint256 i; i < ACTORS; ++i) {
            actors.push(address(uint160(uint256(keccak256(abi.encode("actor", i))))));
        }

        _link(1, 1, 1, 20_000);
        _link(2, 2, 3, 30_000);
        _link(CORRUPT, 1, 1, 0);
        for (uint256 i; i < ACTORS; ++i) {
            _give(TRANSACTION, actors[i], 100_000);
            _give(1, actors[i], 40_000);
            _give(2, actors[i], 30_000);
            for (uint256 chain; chain < 3; ++chain) {
                for (uint256 secret; secret < 4; ++secret) {
                    _register(chain, i, secret);
                }
            }
        }
        issued = 1_000_000;
        for (uint256 chain; chain < 3; ++chain) {
            balances[chain][COMPANY] = chains[chain].asset.balanceOf(COMPANY);
        }

        // Close to the first checkpoint, so that a run crosses it.
        for (uint256 i; i < CHECKPOINT_INTERVAL - 4; ++i) {
            _lock(1, TRANSACTION, 1, false);
            _lock(2, 2, 1, false);
        }
        _advance(TRANSACTION, 10);
        _advance(2, 10);
        _deliverExactly(1, 1, CHECKPOINT_INTERVAL - 8);
        _deliverExactly(2, TRANSACTION, CHECKPOINT_INTERVAL - 8);
        delete _tally;
    }

    /// @dev Both ends of a route, of which the scheduling chain's pool gets `allotment` lots and the transaction chain's
    /// what then circulates.
    function _link(uint256 route, uint32 lot, uint32 peerLot, uint104 allotment) private {
        uint104 backing = uint104(route == CORRUPT ? 0 : SUPPLY / peerLot - allotment);
        _addRoute(TRANSACTION, route, uint16(confirmations[route]), lot, peerLot, backing);
        _addRoute(route, TRANSACTION, uint16(confirmations[route]), peerLot, lot, allotment);
        ends[route][TRANSACTION] = End(lot, backing, 0, 0, backing, 0);
        ends[route][route] = End(peerLot, allotment, 0, 0, allotment, 0);
        _begin(legs[route][TRANSACTION], _state(TRANSACTION, route).inbox);
        _begin(legs[route][route], _state(TRANSACTION, route).outbox);
    }

    function _begin(Leg storage leg, bytes32 seed) private {
        leg.word1.push();
        leg.word2.push();
        leg.outbox.push(seed);
        leg.total.push();
    }

    function _give(uint256 chain, address to, uint256 amount) private {
        VM.prank(COMPANY);
        chains[chain].asset.transfer(to, amount);
        balances[chain][to] += amount;
        VM.prank(to);
        chains[chain].asset.approve(address(chains[chain].lock), type(uint256).max);
        if (chain == TRANSACTION) {
            VM.prank(to);
            chains[chain].asset.approve(address(market), type(uint256).max);
        }
    }

    /* ACTIONS */

    function lock(uint256 seed) external random(seed) {
        uint256 route = 1 + _pick(3);
        uint256 from = route == CORRUPT || _pick(2) == 0 ? TRANSACTION : route;
        _lock(route, from, 2_000, false);
    }

    function purchase(uint256 seed) external random(seed) {
        _lock(1 + _pick(3), TRANSACTION, 2_000, true);
    }

    /// @notice Blocks pass on one chain, slowly or quickly.
    function advance(uint256 seed) external random(seed) {
        uint256 chain = _pick(4);
        chains[chain].number += 1 + _pick(8);
        chains[chain].time += 1 + _pick(120);
    }

    /// @notice An owner registers one more alias, or fails to register it twice.
    function register(uint256 seed) external random(seed) {
        _register(_pick(3), _pick(ACTORS), _pick(SECRETS));
    }

    /// @notice Somebody sends assets straight to a box, which must not change what routes hold.
    function donate(uint256 seed) external random(seed) {
        uint256 chain = _pick(3);
        address from = actors[_pick(ACTORS)];
        uint256 amount = _pick(balances[chain][from] / 100 + 1);
        Chain storage c = chains[chain];
        address box = c.lock.boxAt(_pick(BOXES));
        VM.prank(from);
        c.asset.transfer(box, amount);

        balances[chain][from] -= amount;
        donated[chain] += amount;
    }

    /// @notice The company issues and redeems tokens.
    function issueAndRedeem(uint256 seed) external random(seed) {
        address to = actors[_pick(ACTORS)];
        uint256 amount = _pick(3_000);
        uint256 burnt = _pick(1_000);
        if (burnt > balances[TRANSACTION][COMPANY]) burnt = balances[TRANSACTION][COMPANY];
        _issue(to, amount);
        VM.prank(COMPANY);
        IEnergyToken(address(chains[TRANSACTION].asset)).redeem(burnt, 0);

        balances[TRANSACTION][to] += amount;
        balances[TRANSACTION][COMPANY] -= burnt;
        issued = issued + amount - burnt;
    }

    /// @notice The corrupt chain's lock makes up a transfer: any amount, alias, age, deadline and purpose.
    function corrupt(uint256 seed) external random(seed) {
        uint256 pool = ends[CORRUPT][TRANSACTION].pool;
        uint256 kind = _pick(8);
        uint256 lots =
            kind == 0 ? type(uint96).max : kind == 1 ? pool + 1 : kind == 2 ? pool : kind == 3 ? 0 : 1 + _pick(500);
        bytes32 word2 = _word2(
            _pick(8) == 0 ? bytes20(0) : _anyAlias(CORRUPT),
            // Not ascending, as no honest lock would write them.
            chains[CORRUPT].number + _pick(4),
            _pick(2) == 0 ? 0 : chains[TRANSACTION].time + _pick(100) - 50,
            _pick(8) == 0 ? _pick(256) : _pick(3)
        );
        bytes32 word1 = bytes32(_anyAlias(TRANSACTION)) | bytes32(lots);
        _append(legs[CORRUPT][TRANSACTION], word1, word2);
        ++_tally.forged;
    }

    /// @notice A relayer delivers: from the inbox or before it, up to the outbox, an older one or a checkpoint, all or
    /// only some; now and then something that is wrong in one place first, now and then the same packet twice.
    function deliver(uint256 seed) external random(seed) {
        uint256 route = 1 + _pick(3);
        uint256 to = route == CORRUPT || _pick(2) == 0 ? TRANSACTION : route;
        (ITransactionLock.Packet memory packet, uint256 number, uint256 end) = _pickPacket(route, to);
        if (_pick(4) == 0 && end >= legs[route][to].settled) _deliverBroken(route, to, packet, end);
        _deliver(route, to, packet, number, end);
        if (_pick(8) == 0) _deliver(route, to, packet, number, end);
    }

    /// @notice Somebody claims what waits for an alias, registered or not.
    function claim(uint256 seed) external random(seed) {
        if (waiting.length == 0) return;
        uint256 index = _pick(waiting.length);
        Waiting memory w = waiting[index];
        if (_pick(4) != 0) _registerAlias(w.chain, w.aliasId);
        _claim(w);
        IClaims.Claim storage left = claims[w.route][w.chain][w.aliasId];
        if (left.funded == 0 && left.unfunded == 0) {
            waiting[index] = waiting[waiting.length - 1];
            waiting.pop();
        }
    }

    /* LOCKING */

    function _lock(uint256 route, uint256 from, uint256 most, bool buys) internal {
        uint256 to = from == TRANSACTION ? route : TRANSACTION;
        End storage end = ends[route][from];
        address actor = actors[_pick(ACTORS)];
        uint256 lots = balances[from][actor] / end.lot;
        if (lots > most) lots = most;
        if (lots == 0) return;
        lots = 1 + _pick(lots);
        bytes32 word1 = bytes32(_anyAlias(to)) | bytes32(lots);
        bytes32 word2 = _word2(
            _anyAlias(from),
            chains[from].number,
            _pick(2) == 0 ? 0 : chains[from].time + 1 + _pick(300),
            uint256(buys ? Purpose.Purchase : Purpose.Conversion)
        );

        checkEqual(
            _callLock(actor, from, to, lots * end.lot, word1, word2, buys),
            legs[route][to].outbox.length,
            "position of the lock"
        );

        _append(legs[route][to], word1, word2);
        balances[from][actor] -= lots * end.lot;
        end.pool += lots;
        end.locked += lots;
        if (buys) ++_tally.purchases;
        else ++_tally.locks;
        _checkEnd(route, from);
    }

    function _callLock(address actor, uint256 from, uint256 to, uint256 amount, bytes32 word1, bytes32 word2, bool buys)
        internal
        returns (uint256 position)
    {
        bytes32 key = _routeTo(to);
        uint40 deadline = uint40(_deadline(word2));
        _enter(from);
        VM.prank(actor);
        return buys
            ? market.buy(key, amount, bytes20(word1), bytes20(word2), deadline)
            : chains[from].lock.lock(key, amount, bytes20(word1), bytes20(word2), deadline);
    }

    function _word2(bytes20 refund, uint256 number, uint256 deadline, uint256 purpose) internal pure returns (bytes32) {
        return bytes32(refund) | bytes32(number << 56 | deadline << 16 | purpose << 8);
    }

    function _append(Leg storage leg, bytes32 word1, bytes32 word2) internal {
        uint256 last = leg.outbox.length - 1;
        leg.word1.push(word1);
        leg.word2.push(word2);
        leg.outbox.push(keccak256(abi.encode(leg.outbox[last], word1, word2)));
        leg.total.push(leg.total[last] + uint96(uint256(word1)));
    }

    /* DELIVERING */

    /// @dev A packet that is right, though perhaps stale; the height of its header and the position it proves.
    function _pickPacket(uint256 route, uint256 to)
        internal
        returns (ITransactionLock.Packet memory packet, uint256 number, uint256 end)
    {
        uint256 from = to == TRANSACTION ? route : TRANSACTION;
        Leg storage leg = legs[route][to];
        // The block in the making is finished.
        number = chains[from].number;
        _advance(from, 1);
        if (_pick(4) == 0) number -= _pick(number < 12 ? number : 12);
        end = leg.outbox.length - 1;
        while (route != CORRUPT && end != 0 && _blockNumber(leg.word2[end]) > number) --end;
        if (route == CORRUPT && _pick(4) == 0) end -= _pick(end < 4 ? end + 1 : 4);
        uint256 checkpoint;
        if (end >= CHECKPOINT_INTERVAL && (leg.settled < CHECKPOINT_INTERVAL || _pick(16) == 0)) {
            checkpoint = 1 + _pick(end / CHECKPOINT_INTERVAL);
            end = checkpoint * CHECKPOINT_INTERVAL;
            ++_tally.checkpoints;
        }

        packet = _packet(to, from, number, checkpoint, _provable(route, to, checkpoint, end));
        uint256 position = leg.settled;
        if (_pick(3) == 0) position -= _pick(position < 8 ? position + 1 : 8);
        if (position > end) position = end;
        _fill(packet, leg, position, end);
        if (_pick(3) == 0) packet.limit = _pick(4);
    }

    /// @dev Delivers `count` transfers, no more.
    function _deliverExactly(uint256 route, uint256 to, uint256 count) internal {
        uint256 from = to == TRANSACTION ? route : TRANSACTION;
        Leg storage leg = legs[route][to];
        uint256 end = leg.outbox.length - 1;
        uint256 number = chains[from].number;
        _advance(from, 1);
        ITransactionLock.Packet memory packet = _packet(to, from, number, 0, _provable(route, to, 0, end));
        _fill(packet, leg, leg.settled, end);
        packet.limit = count;
        _deliver(route, to, packet, number, end);
    }

    /// @dev What the source lock really has in the slot that a packet proves; of a past block, what it had then.
    function _provable(uint256 route, uint256 to, uint256 checkpoint, uint256 end) internal view returns (bytes32) {
        Leg storage leg = legs[route][to];
        if (route == CORRUPT) return leg.outbox[end];
        uint256 from = to == TRANSACTION ? route : TRANSACTION;
        if (checkpoint != 0) return chains[from].lock.checkpointAt(_routeTo(to), checkpoint);
        return end == leg.outbox.length - 1 ? _state(from, to).outbox : leg.outbox[end];
    }

    function _fill(ITransactionLock.Packet memory packet, Leg storage leg, uint256 position, uint256 end)
        internal
        view
    {
        packet.position = position;
        packet.outbox = leg.outbox[position];
        packet.transfers = new bytes(64 * (end - position));
        for (uint256 i; i < end - position; ++i) {
            _write(packet.transfers, i, leg.word1[position + 1 + i], leg.word2[position + 1 + i]);
        }
    }

    function _write(bytes memory transfers, uint256 index, bytes32 word1, bytes32 word2) internal pure {
        assembly ("memory-safe") {
            let offset := add(add(transfers, 0x20), shl(6, index))
            mstore(offset, word1)
            mstore(add(offset, 0x20), word2)
        }
    }

    function _deliver(uint256 route, uint256 to, ITransactionLock.Packet memory packet, uint256 number, uint256 end)
        internal
    {
        Leg storage leg = legs[route][to];
        ITransactionLock target = chains[to].lock;
        bytes32 key = _routeTo(to == TRANSACTION ? route : TRANSACTION);
        uint256 settled = leg.settled;
        _enter(to);
        if (end < settled) {
            try target.deliver(key, packet) {
                check(false, "a stale packet was accepted");
            } catch (bytes memory reason) {
                checkEqual(
                    bytes32(bytes4(reason)),
                    bytes32(ITransactionLock.StaleOutbox.selector),
                    "why a stale packet was rejected"
                );
            }
            ++_tally.stale;
            return;
        }

        uint256 count;
        while (
            settled + count < end && count < packet.limit
                && _blockNumber(leg.word2[settled + count + 1]) + confirmations[route] <= number
        ) ++count;

        VM.recordLogs();
        checkEqual(target.deliver(key, packet), count, "transfers processed");
        Vm.Log[] memory logs = VM.getRecordedLogs();

        uint256 next;
        for (uint256 i; i < count; ++i) {
            bytes32 expected = _settle(route, to, settled + 1 + i);
            while (!_settles(logs[next].topics[0])) ++next;
            checkEqual(logs[next].topics[0], expected, "outcome of a transfer");
            checkEqual(logs[next].topics[1], key, "route of a transfer");
            checkEqual(uint256(logs[next].topics[2]), settled + 1 + i, "position of a transfer");
            ++next;
        }
        for (; next < logs.length; ++next) {
            check(!_settles(logs[next].topics[0]), "more transfers settled than processed");
        }
        leg.settled = settled + count;

        ++_tally.packets;
        if (packet.position < settled) ++_tally.overlaps;
        if (count == 0) ++_tally.empty;
        else if (count == packet.limit) ++_tally.limited;
        else if (settled + count < end) ++_tally.unconfirmed;
        _checkEnd(route, to);
    }

    function _settles(bytes32 topic) internal pure returns (bool) {
        return topic == ITransactionLock.Credited.selector || topic == ITransactionLock.Bounced.selector
            || topic == ITransactionLock.ClaimWaiting.selector;
    }

    /// @dev What must become of transfer `position`, in the model; the event that says so.
    function _settle(uint256 route, uint256 to, uint256 position) internal returns (bytes32 topic) {
        bytes32 word1 = legs[route][to].word1[position];
        bytes32 word2 = legs[route][to].word2[position];
        End storage end = ends[route][to];
        uint256 lots = uint96(uint256(word1));
        address owner = owners[to][bytes20(word1)];
        uint256 deadline = _deadline(word2);
        bool late = deadline != 0 && chains[to].time > deadline;
        bool bounce = uint8(uint256(word2) >> 8) == uint8(Purpose.Bounce);

        if (!late && owner != address(0) && lots <= end.pool) {
            end.pool -= lots;
            end.released += lots;
            balances[to][owner] += lots * end.lot;
            if (bounce) ++_tally.returned;
            else ++_tally.credits;
            return ITransactionLock.Credited.selector;
        }
        if (!bounce) {
            _bounce(route, to, bytes20(word2), lots);
            if (late) ++_tally.expired;
            else if (owner == address(0)) ++_tally.unknown;
            else ++_tally.short;
            return ITransactionLock.Bounced.selector;
        }
        _wait(route, to, bytes20(word1), uint128(lots));
        return ITransactionLock.ClaimWaiting.selector;
    }

    function _bounce(uint256 route, uint256 to, bytes20 refund, uint256 lots) internal {
        _append(
            legs[route][to == TRANSACTION ? route : TRANSACTION],
            bytes32(refund) | bytes32(lots),
            _word2(0, chains[to].number, 0, uint256(Purpose.Bounce))
        );
    }

    function _wait(uint256 route, uint256 to, bytes20 aliasId, uint128 lots) internal {
        End storage end = ends[route][to];
        IClaims.Claim storage waits = claims[route][to][aliasId];
        if (waits.funded == 0 && waits.unfunded == 0 && lots != 0) waiting.push(Waiting(route, to, aliasId));
        ++_tally.waiting;
        if (lots <= end.pool) {
            end.pool -= lots;
            end.funded += lots;
            waits.funded += lots;
        } else {
            waits.unfunded += lots;
            end.unfunded += lots;
            ++_tally.unfunded;
        }
    }

    function _deliverBroken(uint256 route, uint256 to, ITransactionLock.Packet memory packet, uint256 end) internal {
        packet = abi.decode(abi.encode(packet), (ITransactionLock.Packet));
        if (!_break(packet, route, to, end)) return;

        _enter(to);
        (bool accepted,) = address(chains[to].lock)
            .call(abi.encodeCall(ITransactionLock.deliver, (_routeTo(to == TRANSACTION ? route : TRANSACTION), packet)));
        check(!accepted, "a broken packet was accepted");
        ++_tally.rejected;
    }

    /// @dev Breaks a packet in one place; false if that place is not there.
    function _break(ITransactionLock.Packet memory packet, uint256 route, uint256 to, uint256 end)
        internal
        returns (bool)
    {
        uint256 place = _pick(11);
        bytes memory transfers = packet.transfers;
        if (place == 0) {
            if (transfers.length == 0) return false;
            uint256 index = _pick(transfers.length);
            transfers[index] ^= bytes1(uint8(1 << _pick(8)));
        } else if (place == 1) {
            packet.outbox ^= bytes32(1 << _pick(256));
        } else if (place == 2) {
            packet.position += 1 + _pick(3);
        } else if (place == 3) {
            packet.header[_pick(packet.header.length)] ^= bytes1(uint8(1 << _pick(8)));
        } else if (place == 4) {
            _truncate(packet.seal, 66);
        } else if (place == 5) {
            packet.storageProof[_pick(packet.storageProof.length)] ^= bytes1(uint8(1 << _pick(8)));
        } else if (place == 6) {
            packet.accountProof = bytes.concat(packet.accountProof, hex"00");
        } else if (place == 7) {
            if (transfers.length == 0) return false;
            _truncate(transfers, 64);
        } else if (place == 8) {
            packet.checkpoint += 1;
        } else if (place == 9) {
            // One transfer more, and a proof that hangs together but not on the sealed header.
            bytes memory more = abi.encode(bytes32(_anyAlias(to)) | bytes32(uint256(1)), bytes32(_anyAlias(to)));
            ITransactionLock.Packet memory forged = _packet(
                to,
                to == TRANSACTION ? route : TRANSACTION,
                0,
                packet.checkpoint,
                keccak256(bytes.concat(legs[route][to].outbox[end], more))
            );
            packet.transfers = bytes.concat(transfers, more);
            (packet.accountProof, packet.storageProof) = (forged.accountProof, forged.storageProof);
        } else {
            // A proof of the same outbox by the sealers and the lock of another chain.
            if (to != TRANSACTION) return false;
            uint256 other = route % 3 + 1;
            ITransactionLock.Packet memory foreign =
                _packet(TRANSACTION, other, chains[other].number, 0, legs[route][to].outbox[0]);
            (packet.header, packet.seal) = (foreign.header, foreign.seal);
            (packet.accountProof, packet.storageProof) = (foreign.accountProof, foreign.storageProof);
        }
        return true;
    }

    function _truncate(bytes memory data, uint256 by) internal pure {
        assembly ("memory-safe") {
            mstore(data, sub(mload(data), by))
        }
    }

    /* CLAIMING */

    function _claim(Waiting memory w) internal {
        End storage end = ends[w.route][w.chain];
        IClaims.Claim storage waits = claims[w.route][w.chain][w.aliasId];
        address owner = owners[w.chain][w.aliasId];
        bytes32 key = _routeTo(w.chain == TRANSACTION ? w.route : TRANSACTION);
        uint256 unfunded = waits.unfunded < end.pool ? waits.unfunded : end.pool;
        uint256 lots = waits.funded + unfunded;

        _enter(w.chain);
        try chains[w.chain].lock.claim(key, w.aliasId) returns (uint256 amount) {
            check(owner != address(0), "claimed for an alias without an owner");
            checkEqual(amount, lots * end.lot, "amount claimed");
        } catch (bytes memory reason) {
            bytes4 expected = owner == address(0)
                ? ITransactionLock.AliasNotRegistered.selector
                : ITransactionLock.NothingToClaim.selector;
            checkEqual(bytes32(bytes4(reason)), bytes32(expected), "why a claim was rejected");
            check(owner == address(0) || lots == 0, "a claim was rejected");
            return;
        }

        balances[w.chain][owner] += lots * end.lot;
        end.pool -= unfunded;
        end.funded -= waits.funded;
        end.unfunded -= unfunded;
        end.released += lots;
        waits.funded = 0;
        waits.unfunded -= uint128(unfunded);
        ++_tally.claims;
        _checkEnd(w.route, w.chain);
    }

    /* ALIASES */

    /// @dev Some alias of some actor: of the first secrets most of the time, which are registered.
    function _anyAlias(uint256 chain) internal returns (bytes20) {
        uint256 secret = _pick(4) == 0 ? _pick(SECRETS) : _pick(4);
        return _remember(_pick(ACTORS), secret + SECRETS * chain);
    }

    function _remember(uint256 actor, uint256 secret) internal returns (bytes20 aliasId) {
        aliasId = bytes20(keccak256(abi.encode(actors[actor], secret)));
        (actorOf[aliasId], secretOf[aliasId]) = (actor, secret);
    }

    function _register(uint256 chain, uint256 actor, uint256 secret) internal {
        _registerAlias(chain, _remember(actor, secret + SECRETS * chain));
    }

    /// @dev Registers an alias as its owner; if it is registered, holds the registry to refusing that.
    function _registerAlias(uint256 chain, bytes20 aliasId) internal {
        address owner = actors[actorOf[aliasId]];
        bool taken = owners[chain][aliasId] != address(0);
        VM.prank(owner);
        try chains[chain].aliases.register(bytes32(secretOf[aliasId])) returns (bytes20 registered) {
            checkEqual(bytes32(registered), bytes32(aliasId), "alias registered");
            check(!taken, "an alias was registered twice");
            owners[chain][aliasId] = owner;
        } catch (bytes memory reason) {
            checkEqual(
                bytes32(bytes4(reason)), bytes32(IAliasRegistry.AliasTaken.selector), "why an alias was rejected"
            );
            check(taken, "an alias was rejected");
        }
    }

    /* THE MODEL */

    /// @dev Holds one end of a route to the model.
    function _checkEnd(uint256 route, uint256 here) internal view {
        uint256 there = here == TRANSACTION ? route : TRANSACTION;
        Leg storage out = legs[route][there];
        Leg storage into = legs[route][here];
        ITransactionLock.RouteState memory state = _state(here, there);
        checkEqual(state.outboxPosition, out.outbox.length - 1, "outbox position");
        checkEqual(state.outbox, out.outbox[out.outbox.length - 1], "outbox");
        checkEqual(state.inboxPosition, into.settled, "inbox position");
        checkEqual(state.inbox, into.outbox[into.settled], "inbox");
        checkEqual(state.pool, ends[route][here].pool, "pool");
    }

    function _blockNumber(bytes32 word2) internal pure returns (uint256) {
        return uint40(uint256(word2) >> 56);
    }

    function _deadline(bytes32 word2) internal pure returns (uint256) {
        return uint40(uint256(word2) >> 16);
    }

    function _pick(uint256 choices) internal returns (uint256 choice) {
        entropy = uint256(keccak256(abi.encode(entropy)));
        return entropy % choices;
    }

    function tally() external view returns (Tally memory) {
        return _tally;
    }

    function chainAt(uint256 chain) external view returns (Chain memory) {
        return chains[chain];
    }

    function endAt(uint256 route, uint256 chain) external view returns (End memory) {
        return ends[route][chain];
    }

    function actorsAndCompany() external view returns (address[] memory holders) {
        holders = new address[](ACTORS + 1);
        for (uint256 i; i < ACTORS; ++i) {
            holders[i] = actors[i];
        }
        holders[ACTORS] = COMPANY;
    }

    function routeTo(uint256 chain) external view returns (bytes32) {
        return _routeTo(chain);
    }

    function theMarket() external view returns (address) {
        return address(market);
    }

    /// @notice Lots between the `from`-th and the `to`-th transfer of an outbox.
    function lotsBetween(uint256 route, uint256 into, uint256 from, uint256 to) external view returns (uint256) {
        return legs[route][into].total[to] - legs[route][into].total[from];
    }
}
