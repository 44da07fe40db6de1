// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Create2} from "@openzeppelin/contracts/utils/Create2.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {DelayedAccess} from "../access/DelayedAccess.sol";
import {IAliasRegistry} from "../interfaces/IAliasRegistry.sol";
import {IClaims} from "../interfaces/IClaims.sol";
import {ILightClient} from "../interfaces/ILightClient.sol";
import {ITransactionLock, Permit, Purpose, Refusal} from "../interfaces/ITransactionLock.sol";
import {StateProof} from "../lightclient/StateProof.sol";
import {CallerPermit} from "../token/CallerPermit.sol";
import {Claims} from "./Claims.sol";
import {LockBox} from "./LockBox.sol";
import {Outbox, Transfer} from "./Outbox.sol";

/// @title TransactionLock
/// @notice See {ITransactionLock}.
contract TransactionLock is ITransactionLock, DelayedAccess, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using Outbox for bytes32;
    using Outbox for bytes;

    /// @dev A route in storage. The other end proves `outbox` and `checkpoints`, so their slots are part of the
    /// protocol: slot(outbox) = keccak256(abi.encode(route, ROUTES_SLOT)), slot(checkpoints[i]) =
    /// keccak256(abi.encode(i, slot(outbox) + CHECKPOINTS_OFFSET)).
    struct Route {
        bytes32 outbox;
        bytes32 inbox;
        uint40 outboxPosition;
        uint40 inboxPosition;
        uint104 pool;
        uint32 lot;
        uint32 peerLot;
        bool frozen;
        address peer;
        uint16 confirmations;
        ILightClient lightClient;
        mapping(uint256 index => bytes32) checkpoints;
        mapping(bytes32 pairOfBlocks => bool) evidence;
    }

    /// @dev The box that pays, and what is left in it: nobody else draws on it meanwhile. None at first, with no
    /// balance, so that a delivery that pays nobody asks no box.
    struct Source {
        uint256 index;
        address box;
        uint256 balance;
    }

    /// @dev The storage slot of `_routes`.
    uint256 internal constant ROUTES_SLOT = 1;

    /// @dev The place of `checkpoints` in `Route`.
    uint256 internal constant CHECKPOINTS_OFFSET = 5;

    /// @inheritdoc ITransactionLock
    uint256 public constant BOXES = 16;

    /// @inheritdoc ITransactionLock
    bytes32 public immutable GENESIS_HASH;

    /// @inheritdoc ITransactionLock
    address public immutable ASSET;

    /// @inheritdoc ITransactionLock
    address public immutable COMPANY;

    /// @inheritdoc ITransactionLock
    IAliasRegistry public immutable ALIASES;

    /// @inheritdoc ITransactionLock
    IClaims public immutable CLAIMS;

    /// @dev The boxes are derived, not stored: their addresses cost a hash instead of a slot.
    bytes32 internal immutable _BOX_CODE_HASH;

    /// @dev The slot of the outbox to this lock in any counterpart, and the path of it in the storage trie.
    bytes32 internal immutable _PEER_OUTBOX_SLOT;
    bytes32 internal immutable _PEER_OUTBOX_PATH;

    mapping(bytes32 route => Route) internal _routes;

    /// @inheritdoc ITransactionLock
    address public market;

    /// @param manager The `AccessManager` that changes of a rule go through.
    /// @param asset What is locked here.
    /// @param aliases Who aliases stand for.
    /// @param company The energy company on this chain.
    /// @param genesisHash The hash of this chain's block 0. A wrong one makes every proof fail and loses nothing.
    constructor(address manager, IERC20 asset, IAliasRegistry aliases, address company, bytes32 genesisHash)
        DelayedAccess(manager)
    {
        GENESIS_HASH = genesisHash;
        ASSET = address(asset);
        COMPANY = company;
        ALIASES = aliases;
        CLAIMS = new Claims();

        bytes memory boxCode = abi.encodePacked(type(LockBox).creationCode, abi.encode(asset));
        _BOX_CODE_HASH = keccak256(boxCode);
        for (uint256 i; i < BOXES; ++i) {
            Create2.deploy(0, bytes32(i), boxCode);
        }

        bytes32 key = routeOf(Counterpart(block.chainid, genesisHash, address(this)));
        _PEER_OUTBOX_SLOT = keccak256(abi.encode(key, ROUTES_SLOT));
        _PEER_OUTBOX_PATH = keccak256(abi.encode(_PEER_OUTBOX_SLOT));
    }

    /* LOCK */

    /// @inheritdoc ITransactionLock
    function lock(bytes32 route, uint256 amount, bytes20 recipient, bytes20 refund, uint40 deadline)
        external
        nonReentrant
        returns (uint256 position)
    {
        return _lock(route, amount, recipient, refund, deadline, Purpose.Conversion);
    }

    /// @inheritdoc ITransactionLock
    function lockWithPermit(
        bytes32 route,
        uint256 amount,
        bytes20 recipient,
        bytes20 refund,
        uint40 deadline,
        Permit calldata permit
    ) external nonReentrant returns (uint256 position) {
        CallerPermit.use(ASSET, permit);
        return _lock(route, amount, recipient, refund, deadline, Purpose.Conversion);
    }

    /// @inheritdoc ITransactionLock
    function lockPurchase(bytes32 route, uint256 amount, bytes20 recipient, bytes20 refund, uint40 deadline)
        external
        nonReentrant
        returns (uint256 position)
    {
        require(msg.sender == market, NotTheMarket(msg.sender, market));

        return _lock(route, amount, recipient, refund, deadline, Purpose.Purchase);
    }

    function _lock(bytes32 route, uint256 amount, bytes20 recipient, bytes20 refund, uint40 deadline, Purpose purpose)
        internal
        returns (uint256 position)
    {
        Route storage r = _routes[route];
        uint256 lot = r.lot;
        require(lot != 0, UnknownRoute(route));
        require(!r.frozen, RouteIsFrozen(route));
        require(amount != 0, ZeroAmount());
        require(amount % lot == 0, InexactAmount(amount, lot));
        uint256 lots = amount / lot;
        require(lots <= type(uint96).max, AmountTooLarge(lots, type(uint96).max));
        uint256 pool = r.pool + lots;
        require(pool <= type(uint104).max, AmountTooLarge(pool, type(uint104).max));
        require(recipient != 0 && refund != 0, ZeroAlias());
        require(deadline == 0 || deadline >= block.timestamp, DeadlineInThePast(deadline, block.timestamp));

        // pool <= type(uint104).max, checked above
        r.pool = uint104(pool);
        bytes32 outbox;
        (position, outbox) = _append(
            route,
            // lots <= type(uint96).max, checked above; a block number beyond 40 bits is 10^12 blocks away
            Transfer(recipient, uint96(lots), refund, uint40(block.number), deadline, purpose),
            msg.sender
        );

        // The new outbox is as random as anything here, and free (the paper's "randomly named lock address").
        IERC20(ASSET).safeTransferFrom(msg.sender, boxAt(uint256(outbox) % BOXES), amount);
    }

    /// @dev Adds a transfer to the route's outbox.
    function _append(bytes32 route, Transfer memory transfer, address sender)
        internal
        returns (uint256 position, bytes32 outbox)
    {
        Route storage r = _routes[route];
        (bytes32 word1, bytes32 word2) = Outbox.pack(transfer);

        outbox = r.outbox.append(word1, word2);
        r.outbox = outbox;
        position = ++r.outboxPosition;
        if (position % Outbox.CHECKPOINT_INTERVAL == 0) r.checkpoints[position / Outbox.CHECKPOINT_INTERVAL] = outbox;

        emit Locked(route, position, sender, word1, word2);
    }

    /* DELIVER */

    /// @inheritdoc ITransactionLock
    function deliver(bytes32 route, Packet calldata packet) external nonReentrant returns (uint256 processed) {
        Route storage r = _routes[route];
        require(r.lot != 0, UnknownRoute(route));
        require(!r.frozen, RouteIsFrozen(route));

        (uint256 number,, bytes32 stateRoot) = r.lightClient.verifyHeader(packet.header, packet.seal);
        uint256 position = r.inboxPosition;
        uint256 skipped;
        bytes32 inbox;
        (skipped, processed, inbox) =
            _rehash(packet, position, r.inbox, _provenOutbox(r.peer, stateRoot, packet), number, r.confirmations);
        if (processed == 0) return 0;

        r.inbox = inbox;
        // every position was hashed by some delivery: 2^40 of them cannot be
        r.inboxPosition = uint40(position + processed);
        uint256[] memory payments = _settle(route, packet.transfers, skipped, processed, position);

        emit Delivered(route, position + processed, number);

        uint256 lot = r.lot;
        Source memory source;
        source.index = uint256(inbox) % BOXES;
        for (uint256 i; i < processed; ++i) {
            uint256 payment = payments[i];
            uint256 amount;
            unchecked {
                // lots < 2^96 and lot < 2^32
                amount = uint96(payment) * lot;
            }
            if (amount != 0) _release(source, address(uint160(payment >> 96)), amount);
        }
    }

    /// @dev The outbox (or the checkpoint) of the counterpart that the packet proves against `stateRoot`.
    function _provenOutbox(address peer, bytes32 stateRoot, Packet calldata packet) internal view returns (bytes32) {
        bytes32 path = packet.checkpoint == 0
            ? _PEER_OUTBOX_PATH
            : keccak256(
                abi.encode(keccak256(abi.encode(packet.checkpoint, uint256(_PEER_OUTBOX_SLOT) + CHECKPOINTS_OFFSET)))
            );
        bytes32 storageRoot = StateProof.storageRoot(stateRoot, keccak256(abi.encodePacked(peer)), packet.accountProof);
        return StateProof.storageValue(storageRoot, path, packet.storageProof);
    }

    /// @dev Hashes the packet's transfers through the inbox up to the proven outbox, and finds how many of those
    /// beyond the inbox can be processed: confirmed, within the packet's limit, none left out.
    function _rehash(
        Packet calldata packet,
        uint256 position,
        bytes32 inbox,
        bytes32 proven,
        uint256 number,
        uint256 confirmations
    ) internal pure returns (uint256 skipped, uint256 processed, bytes32 newInbox) {
        bytes calldata transfers = packet.transfers;
        require(transfers.length % Outbox.TRANSFER_SIZE == 0, MalformedTransfers(transfers.length));
        uint256 count = transfers.length / Outbox.TRANSFER_SIZE;
        require(packet.position <= position, PacketAhead(packet.position, position));
        require(packet.position + count >= position, StaleOutbox(packet.position + count, position));
        skipped = position - packet.position;

        bytes32 outbox = packet.outbox.extend(transfers, 0, skipped);
        require(outbox == inbox, InboxMismatch(outbox, inbox));

        uint256 most = skipped + Math.min(packet.limit, count - skipped);
        uint256 next = _unconfirmed(transfers, skipped, most, confirmations, number);
        processed = next - skipped;
        newInbox = inbox.extend(transfers, skipped, next);
        outbox = newInbox.extend(transfers, next, count);
        require(outbox == proven, OutboxMismatch(outbox, proven));
    }

    /// @dev The first of the transfers `[first, last)` locked less than `confirmations` blocks below `number`.
    function _unconfirmed(bytes calldata transfers, uint256 first, uint256 last, uint256 confirmations, uint256 number)
        internal
        pure
        returns (uint256 next)
    {
        unchecked {
            // 40 and 16 bits
            for (next = first; next < last; ++next) {
                (, bytes32 word2) = transfers.wordsAt(next);
                if (word2.blockNumberIn() + confirmations > number) break;
            }
        }
    }

    /// @dev Decides each transfer, in order, and books it; the payments are made once all of them are.
    /// @param position The inbox position before the first of them.
    /// @return payments For each transfer the recipient (160 bits) and the lots (96 bits), 0 where nobody is paid.
    function _settle(bytes32 route, bytes calldata transfers, uint256 first, uint256 count, uint256 position)
        internal
        returns (uint256[] memory payments)
    {
        Route storage r = _routes[route];
        uint256 pool = r.pool;
        uint256 lot = r.lot;
        payments = new uint256[](count);

        unchecked {
            // positions fit 40 bits; lots < 2^96 and lot < 2^32; a credit's lots are at most the pool
            for (uint256 i; i < count; ++i) {
                (bytes32 word1, bytes32 word2) = transfers.wordsAt(first + i);
                ++position;
                uint256 lots = word1.lotsIn();
                address owner = ALIASES.ownerOf(word1.aliasIn());
                Refusal refusal = _refusal(word2, owner, lots, pool);

                if (refusal != Refusal.None) {
                    pool = _refuse(route, position, word1, word2, pool, refusal);
                    continue;
                }

                pool -= lots;
                payments[i] = uint256(uint160(owner)) << 96 | lots;
                emit Credited(route, position, owner, lots * lot, word2.purposeIn());
            }
        }

        // it only went down
        r.pool = uint104(pool);
    }

    /// @dev Bounces a transfer that cannot be credited; a bounce waits to be claimed instead.
    /// @return The pool that is left: what waits is set aside as far as there is enough.
    function _refuse(bytes32 route, uint256 position, bytes32 word1, bytes32 word2, uint256 pool, Refusal refusal)
        internal
        returns (uint256)
    {
        // lots come from 12 bytes
        uint96 lots = uint96(word1.lotsIn());
        if (word2.purposeIn() != Purpose.Bounce) {
            (uint256 bouncePosition,) = _append(
                route, Transfer(word2.aliasIn(), lots, 0, uint40(block.number), 0, Purpose.Bounce), address(this)
            );
            emit Bounced(route, position, bouncePosition, refusal);
            return pool;
        }

        bool funded = lots <= pool;
        CLAIMS.add(route, word1.aliasIn(), funded ? lots : 0, funded ? 0 : lots);
        emit ClaimWaiting(route, position, word1.aliasIn(), lots, refusal);
        return funded ? pool - lots : pool;
    }

    /// @dev Why a transfer cannot be credited now. Only reads decide, never the failure of a call, so a caller who
    /// gives too little gas cannot turn a credit into a bounce.
    function _refusal(bytes32 word2, address owner, uint256 lots, uint256 pool) internal view returns (Refusal) {
        uint256 deadline = word2.deadlineIn();
        if (deadline != 0 && block.timestamp > deadline) return Refusal.DeadlinePassed;
        if (owner == address(0)) return Refusal.AliasUnknown;
        if (lots > pool) return Refusal.PoolShort;
        return Refusal.None;
    }

    /* CLAIM */

    /// @inheritdoc ITransactionLock
    function claim(bytes32 route, bytes20 aliasId) external nonReentrant returns (uint256 amount) {
        Route storage r = _routes[route];
        address owner = ALIASES.ownerOf(aliasId);
        require(owner != address(0), AliasNotRegistered(aliasId));
        IClaims.Claim memory waiting = CLAIMS.waiting(route, aliasId);
        uint256 unfunded = r.frozen ? 0 : Math.min(waiting.unfunded, r.pool);
        uint256 lots = waiting.funded + unfunded;
        require(lots != 0, NothingToClaim(route, aliasId));

        // unfunded <= r.pool, so it fits both
        r.pool -= uint104(unfunded);
        CLAIMS.take(route, aliasId, uint128(unfunded));
        amount = lots * r.lot;

        emit Claimed(route, aliasId, owner, amount);

        Source memory source;
        source.index = uint256(r.inbox) % BOXES;
        _release(source, owner, amount);
    }

    /* BOXES */

    /// @inheritdoc ITransactionLock
    function boxAt(uint256 index) public view returns (address) {
        return Create2.computeAddress(bytes32(index), _BOX_CODE_HASH);
    }

    /// @dev Pays from `source` and, where it falls short, from the boxes behind it in turn: the box that paid last is
    /// warm for the next payment. The pools never exceed what the boxes hold.
    function _release(Source memory source, address recipient, uint256 amount) internal {
        IERC20 asset = IERC20(ASSET);
        for (uint256 asked; amount > source.balance; ++asked) {
            if (source.balance != 0) asset.safeTransferFrom(source.box, recipient, source.balance);
            amount -= source.balance;
            require(asked < BOXES, BoxesShort(amount));

            source.index = (source.index + 1) % BOXES;
            source.box = boxAt(source.index);
            source.balance = asset.balanceOf(source.box);
        }

        unchecked {
            source.balance -= amount;
        }
        asset.safeTransferFrom(source.box, recipient, amount);
    }

    /* EQUIVOCATION */

    /// @inheritdoc ITransactionLock
    function reportEquivocation(
        bytes32 route,
        bytes calldata headerA,
        bytes calldata sealA,
        bytes calldata headerB,
        bytes calldata sealB
    ) external nonReentrant {
        Route storage r = _routes[route];
        require(r.lot != 0, UnknownRoute(route));
        require(!r.frozen, RouteIsFrozen(route));
        (uint256 numberA, bytes32 hashA,) = r.lightClient.verifyHeader(headerA, sealA);
        (uint256 numberB, bytes32 hashB,) = r.lightClient.verifyHeader(headerB, sealB);
        require(numberA == numberB && hashA != hashB, NoEquivocation(numberA, numberB, hashA, hashB));

        bytes32 evidence = hashA < hashB ? keccak256(abi.encode(hashA, hashB)) : keccak256(abi.encode(hashB, hashA));
        require(!r.evidence[evidence], EvidenceUsed(route, hashA, hashB));

        r.evidence[evidence] = true;
        r.frozen = true;

        emit RouteFrozen(route, numberA, hashA, hashB);
    }

    /* ROUTES */

    /// @inheritdoc ITransactionLock
    function routeOf(Counterpart memory counterpart) public pure returns (bytes32) {
        return keccak256(abi.encode(counterpart.chainId, counterpart.genesisHash, counterpart.lock));
    }

    /// @inheritdoc ITransactionLock
    function routeState(bytes32 route) external view returns (RouteState memory) {
        Route storage r = _routes[route];
        return RouteState(
            r.outbox,
            r.inbox,
            r.outboxPosition,
            r.inboxPosition,
            r.pool,
            r.lot,
            r.peerLot,
            r.frozen,
            r.peer,
            r.confirmations,
            r.lightClient
        );
    }

    /// @inheritdoc ITransactionLock
    function checkpointAt(bytes32 route, uint256 index) external view returns (bytes32) {
        return _routes[route].checkpoints[index];
    }

    /// @inheritdoc ITransactionLock
    function addRoute(Counterpart calldata counterpart, RouteTerms calldata terms, uint104 allotment)
        external
        restricted
        nonReentrant
        returns (bytes32 route)
    {
        route = routeOf(counterpart);
        Route storage r = _routes[route];
        require(r.lot == 0, RouteExists(route));
        require(_coprime(terms.lot, terms.peerLot), InvalidLots(terms.lot, terms.peerLot));
        require(
            counterpart.lock != address(0)
                && (counterpart.lock != address(this) || counterpart.chainId != block.chainid),
            InvalidCounterpart(counterpart.lock)
        );
        require(address(terms.lightClient).code.length != 0, NoCode(address(terms.lightClient)));

        r.outbox = Outbox.seed(block.chainid, GENESIS_HASH, address(this), counterpart.chainId, counterpart.lock);
        r.inbox =
            Outbox.seed(counterpart.chainId, counterpart.genesisHash, counterpart.lock, block.chainid, address(this));
        r.pool = allotment;
        r.lot = terms.lot;
        r.peerLot = terms.peerLot;
        r.peer = counterpart.lock;
        r.confirmations = terms.confirmations;
        r.lightClient = terms.lightClient;

        emit RouteAdded(
            route,
            counterpart.chainId,
            counterpart.genesisHash,
            counterpart.lock,
            terms.lightClient,
            terms.confirmations,
            terms.lot,
            terms.peerLot,
            allotment
        );

        _spread(uint256(allotment) * terms.lot);
    }

    /// @dev Euclid's algorithm. Zero counts as coprime to nothing: no lot may be zero.
    function _coprime(uint256 a, uint256 b) internal pure returns (bool) {
        if (a == 0 || b == 0) return false;
        while (b != 0) (a, b) = (b, a % b);
        return a == 1;
    }

    /// @dev Takes `amount` from the caller into all boxes alike; the first takes what does not divide.
    function _spread(uint256 amount) internal {
        uint256 share = amount / BOXES;
        for (uint256 i; i < BOXES; ++i) {
            uint256 part = i == 0 ? amount - share * (BOXES - 1) : share;
            if (part != 0) IERC20(ASSET).safeTransferFrom(msg.sender, boxAt(i), part);
        }
    }

    /* RULES */

    /// @inheritdoc ITransactionLock
    function setMarket(address newMarket) external {
        if (market == address(0)) _checkCanCall(msg.sender, msg.data);
        else _checkDelayed();
        require(newMarket.code.length != 0, NoCode(newMarket));

        emit MarketChanged(market, newMarket);
        market = newMarket;
    }

    /// @inheritdoc ITransactionLock
    function setLightClient(bytes32 route, ILightClient newLightClient) external delayed {
        Route storage r = _routes[route];
        require(r.lot != 0, UnknownRoute(route));
        require(address(newLightClient).code.length != 0, NoCode(address(newLightClient)));

        emit LightClientChanged(route, r.lightClient, newLightClient);
        r.lightClient = newLightClient;
    }

    /// @inheritdoc ITransactionLock
    function setConfirmations(bytes32 route, uint16 newConfirmations) external delayed {
        Route storage r = _routes[route];
        require(r.lot != 0, UnknownRoute(route));

        emit ConfirmationsChanged(route, r.confirmations, newConfirmations);
        r.confirmations = newConfirmations;
    }

    /// @inheritdoc ITransactionLock
    function unfreeze(bytes32 route) external delayed {
        Route storage r = _routes[route];
        require(r.frozen, RouteIsNotFrozen(route));

        r.frozen = false;

        emit RouteUnfrozen(route);
    }
}
