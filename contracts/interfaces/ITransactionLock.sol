// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

import {IAliasRegistry} from "./IAliasRegistry.sol";
import {IClaims} from "./IClaims.sol";
import {ILightClient} from "./ILightClient.sol";

/// @dev Why a transfer was made.
enum Purpose {
    /// A party converts what it owns (the paper's ValueExchange).
    Conversion,
    /// A user buys rights from the company (the paper's PurchaseRights).
    Purchase,
    /// A transfer that could not be credited returns to the one who sent it.
    Bounce
}

/// @dev Why a transfer could not be credited.
enum Refusal {
    None,
    /// The block that processed it came after the transfer's deadline.
    DeadlinePassed,
    /// Nobody registered the alias here.
    AliasUnknown,
    /// More than the pool of the route holds.
    PoolShort
}

/// @dev One end of a permit (EIP-2612) by the caller for the contract called.
struct Permit {
    uint256 value;
    uint256 deadline;
    uint8 v;
    bytes32 r;
    bytes32 s;
}

/// @title ITransactionLock
/// @notice One end of the lock between two chains (the paper's transaction lock contract, its figure 5). It keeps this
/// chain's asset in boxes, writes what leaves to an outbox that the other end proves by SPV, and releases what the
/// other end's outbox proves. It serves several counterpart chains, a route each.
///
/// Units. Amounts in transfers, pools and allotments are *lots*: the smallest value that both chains of a route can
/// express. A lot is `lot` base units here and `peerLot` there; the route's ratio is `peerLot / lot`.
///
/// A transfer is two words:
///   word 1: recipient alias (20 bytes) · lots (12)
///   word 2: refund alias (20 bytes) · block number of the lock (5) · deadline (5) · purpose (1) · zero (1)
/// and `outbox[n] = keccak256(abi.encode(outbox[n-1], word 1, word 2))`.
///
/// Trust. Safety of a route: its light client (whoever seals the counterpart's headers), the code of the counterpart
/// lock, and `confirmations` as the depth of the counterpart's reorganisations. A route never releases more than was
/// locked to it, whatever its counterpart does. Liveness: one relayer, anybody. The asset must be a plain ERC-20 whose
/// transfers between non-zero addresses succeed if the balance does.
interface ITransactionLock {
    /// @dev The other end of a route.
    struct Counterpart {
        uint256 chainId;
        bytes32 genesisHash;
        address lock;
    }

    /// @dev The terms of a new route.
    struct RouteTerms {
        /// Decides whether a header of the counterpart chain is sealed.
        ILightClient lightClient;
        /// Blocks that must follow a lock before it is credited.
        uint16 confirmations;
        /// Base units of this chain's asset in a lot.
        uint32 lot;
        /// Base units of the counterpart's asset in a lot.
        uint32 peerLot;
    }

    /// @dev A route as it stands.
    struct RouteState {
        bytes32 outbox;
        bytes32 inbox;
        uint40 outboxPosition;
        uint40 inboxPosition;
        /// Lots that the route may release here.
        uint104 pool;
        uint32 lot;
        uint32 peerLot;
        bool frozen;
        address peer;
        uint16 confirmations;
        ILightClient lightClient;
    }

    /// @dev What one delivery carries.
    struct Packet {
        /// A sealed header of the counterpart chain, RLP.
        bytes header;
        /// Its seal, as the route's light client reads it.
        bytes seal;
        /// Nodes of the state trie from the root to the counterpart lock, concatenated.
        bytes accountProof;
        /// Nodes of its storage trie from the root to the slot proven, concatenated.
        bytes storageProof;
        /// Which slot is proven: 0 for the outbox itself, n for checkpoint n, the outbox after 256·n transfers.
        uint256 checkpoint;
        /// The outbox position before the first of `transfers`, at most this route's inbox position.
        uint256 position;
        /// The outbox at that position.
        bytes32 outbox;
        /// The transfers from there up to the value proven, 64 bytes each.
        bytes transfers;
        /// The most transfers to process now.
        uint256 limit;
    }

    /// @notice Thrown when there is no such route.
    error UnknownRoute(bytes32 route);

    /// @notice Thrown when the route exists already.
    error RouteExists(bytes32 route);

    /// @notice Thrown when a route's lots have a common factor (zero has every one), so that an amount both chains can
    /// express would be refused.
    error InvalidLots(uint32 lot, uint32 peerLot);

    /// @notice Thrown when the counterpart of a new route is no lock, or this one.
    error InvalidCounterpart(address lock);

    /// @notice Thrown when `account` should be a contract and has no code.
    error NoCode(address account);

    /// @notice Thrown when an equivocation froze the route.
    error RouteIsFrozen(bytes32 route);

    /// @notice Thrown when the route is not frozen.
    error RouteIsNotFrozen(bytes32 route);

    /// @notice Thrown when nothing is to be locked.
    error ZeroAmount();

    /// @notice Thrown when `amount` is not a multiple of `lot`, so that the other chain could not express it.
    error InexactAmount(uint256 amount, uint256 lot);

    /// @notice Thrown when a transfer of `lots`, or a pool with it, would be larger than `max`.
    error AmountTooLarge(uint256 lots, uint256 max);

    /// @notice Thrown when the recipient or the refund alias is zero.
    error ZeroAlias();

    /// @notice Thrown when `deadline` is earlier than the block's time `timestamp`.
    error DeadlineInThePast(uint256 deadline, uint256 timestamp);

    /// @notice Thrown when `caller` locks a purchase and only `market` may.
    error NotTheMarket(address caller, address market);

    /// @notice Thrown when the transfers of a packet are not a multiple of 64 bytes long.
    error MalformedTransfers(uint256 length);

    /// @notice Thrown when a packet starts at `position`, beyond the inbox, so that transfers between are missing.
    error PacketAhead(uint256 position, uint256 inboxPosition);

    /// @notice Thrown when a packet's outbox ends at `position`, behind the inbox.
    error StaleOutbox(uint256 position, uint256 inboxPosition);

    /// @notice Thrown when the transfers up to the inbox's position do not hash to the inbox.
    error InboxMismatch(bytes32 actual, bytes32 inbox);

    /// @notice Thrown when the transfers of a packet hash to `actual` and the proof says `proven`.
    error OutboxMismatch(bytes32 actual, bytes32 proven);

    /// @notice Thrown when two headers are no equivocation: of different heights, or the same block.
    error NoEquivocation(uint256 numberA, uint256 numberB, bytes32 hashA, bytes32 hashB);

    /// @notice Thrown when this pair of headers froze the route before.
    error EvidenceUsed(bytes32 route, bytes32 hashA, bytes32 hashB);

    /// @notice Thrown when nothing waits for `aliasId`, or its pool is still too short.
    error NothingToClaim(bytes32 route, bytes20 aliasId);

    /// @notice Thrown when an alias nobody registered is claimed for.
    error AliasNotRegistered(bytes20 aliasId);

    /// @notice Thrown when the boxes hold `missing` less than the pools say, which cannot be.
    error BoxesShort(uint256 missing);

    /// @notice Emitted when a route is added; `pool` is its genesis allotment in lots.
    event RouteAdded(
        bytes32 indexed route,
        uint256 indexed chainId,
        bytes32 genesisHash,
        address peer,
        ILightClient lightClient,
        uint16 confirmations,
        uint32 lot,
        uint32 peerLot,
        uint256 pool
    );

    /// @notice Emitted when another light client judges the counterpart's headers.
    event LightClientChanged(bytes32 indexed route, ILightClient previous, ILightClient current);

    /// @notice Emitted when the number of confirmations changes.
    event ConfirmationsChanged(bytes32 indexed route, uint16 previous, uint16 current);

    /// @notice Emitted when another market may lock purchases.
    event MarketChanged(address previous, address current);

    /// @notice Emitted when two sealed headers of one height froze a route.
    event RouteFrozen(bytes32 indexed route, uint256 number, bytes32 hashA, bytes32 hashB);

    /// @notice Emitted when a route is released after a freeze.
    event RouteUnfrozen(bytes32 indexed route);

    /// @notice Emitted for each transfer that an outbox takes in: by `sender`, who is the lock itself for a bounce.
    event Locked(bytes32 indexed route, uint256 indexed position, address indexed sender, bytes32 word1, bytes32 word2);

    /// @notice Emitted when transfer `position` of the counterpart's outbox is paid out.
    event Credited(
        bytes32 indexed route, uint256 indexed position, address indexed recipient, uint256 amount, Purpose purpose
    );

    /// @notice Emitted when transfer `position` of the counterpart's outbox goes home as transfer `bouncePosition` of
    /// this one's.
    event Bounced(bytes32 indexed route, uint256 indexed position, uint256 bouncePosition, Refusal reason);

    /// @notice Emitted when a bounce could not be credited and now waits for `aliasId` to be claimed.
    event ClaimWaiting(
        bytes32 indexed route, uint256 indexed position, bytes20 indexed aliasId, uint256 lots, Refusal reason
    );

    /// @notice Emitted when what waited is paid out.
    event Claimed(bytes32 indexed route, bytes20 indexed aliasId, address indexed recipient, uint256 amount);

    /// @notice Emitted when the inbox has moved to `position` by a header of height `number`.
    event Delivered(bytes32 indexed route, uint256 position, uint256 number);

    /// @notice The hash of this chain's block 0, given at deployment.
    function GENESIS_HASH() external view returns (bytes32);

    /// @notice What is locked here: an ERC-20.
    function ASSET() external view returns (address);

    /// @notice The energy company on this chain: purchases are recorded as released from it.
    function COMPANY() external view returns (address);

    /// @notice Who aliases stand for on this chain.
    function ALIASES() external view returns (IAliasRegistry);

    /// @notice The bounces that wait to be claimed.
    function CLAIMS() external view returns (IClaims);

    /// @notice How many boxes hold the pool.
    function BOXES() external view returns (uint256);

    /// @notice Who may lock purchases.
    function market() external view returns (address);

    /// @notice The box `index`, from 0.
    function boxAt(uint256 index) external view returns (address);

    /// @notice The key of the route to `counterpart`: keccak256(abi.encode(chainId, genesisHash, lock)).
    function routeOf(Counterpart calldata counterpart) external pure returns (bytes32 route);

    /// @notice A route as it stands; all zero where there is none.
    function routeState(bytes32 route) external view returns (RouteState memory);

    /// @notice The outbox of `route` after 256·index transfers.
    function checkpointAt(bytes32 route, uint256 index) external view returns (bytes32);

    /// @notice Locks `amount` of the caller's for an alias of the route's other chain.
    /// @param amount In base units; a multiple of the route's lot.
    /// @param recipient The alias to credit there.
    /// @param refund The alias to credit here if that cannot be done. Not checked: a bounce that finds no owner waits.
    /// @param deadline The last second, in the destination's block time, at which it may be credited; 0 for none.
    /// @return position The transfer's place in the route's outbox, from 1.
    function lock(bytes32 route, uint256 amount, bytes20 recipient, bytes20 refund, uint40 deadline)
        external
        returns (uint256 position);

    /// @notice {lock}, with the caller's permit for this contract. A permit already used is ignored: what counts is
    /// the allowance.
    function lockWithPermit(
        bytes32 route,
        uint256 amount,
        bytes20 recipient,
        bytes20 refund,
        uint40 deadline,
        Permit calldata permit
    ) external returns (uint256 position);

    /// @notice {lock} with the purpose of a purchase. Only the market, of its own tokens.
    function lockPurchase(bytes32 route, uint256 amount, bytes20 recipient, bytes20 refund, uint40 deadline)
        external
        returns (uint256 position);

    /// @notice Takes in transfers of the counterpart's outbox, in order: each confirmed one is credited, bounced, or
    /// set aside to be claimed. Anyone may deliver.
    /// @return processed How many the inbox moved on by; the rest were hashed only and come again.
    function deliver(bytes32 route, Packet calldata packet) external returns (uint256 processed);

    /// @notice Pays what waits for `aliasId` to its owner: all that was set aside and, unless the route is frozen, as
    /// much of the rest as the pool holds. Anyone may trigger it.
    function claim(bytes32 route, bytes20 aliasId) external returns (uint256 amount);

    /// @notice Freezes a route on proof that its sealers sealed two blocks of one height. Anyone may report, a pair
    /// once.
    function reportEquivocation(
        bytes32 route,
        bytes calldata headerA,
        bytes calldata sealA,
        bytes calldata headerB,
        bytes calldata sealB
    ) external;

    /// @notice Adds a route, and locks `allotment` lots of the caller's as its pool from the start. What a route is
    /// bound to (chain, genesis, lock, lots) never changes after: another counterpart is another route.
    function addRoute(Counterpart calldata counterpart, RouteTerms calldata terms, uint104 allotment)
        external
        returns (bytes32 route);

    /// @notice Registers the market: the first at once, another only after the delay of the caller's role.
    function setMarket(address newMarket) external;

    /// @notice Replaces a route's light client. Only after the delay of the caller's role.
    function setLightClient(bytes32 route, ILightClient newLightClient) external;

    /// @notice Changes a route's confirmations. Only after the delay of the caller's role.
    function setConfirmations(bytes32 route, uint16 newConfirmations) external;

    /// @notice Releases a frozen route. Only after the delay of the caller's role.
    function unfreeze(bytes32 route) external;
}
