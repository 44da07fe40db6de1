// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";

import {ITransactionLock, Permit, Purpose} from "../../contracts/interfaces/ITransactionLock.sol";
import {TRANSACTION} from "./support/Network.sol";
import {Routes} from "./support/Routes.sol";
import {StubLightClient} from "./support/StubLightClient.sol";
import {SyntheticState} from "./support/SyntheticState.sol";
import {VM, check, checkEqual} from "./support/Vm.sol";

/// @notice What strangers, users and relayers may try with the lock and its boxes.
contract LockAttacksTest is Routes {
    /// @dev OpenZeppelin's.
    error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
    error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);

    bytes32 internal constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    ITransactionLock internal lock;
    bytes32 internal route;

    function setUp() public override {
        super.setUp();
        lock = chains[TRANSACTION].lock;
        route = _routeTo(FIRST);
        _enter(TRANSACTION);
    }

    /* BOXES */

    function test_boxHasNoCodePathAtAll() public view {
        for (uint256 i; i < lock.BOXES(); ++i) {
            // push 0, dup, revert
            checkEqual(keccak256(lock.boxAt(i).code), keccak256(hex"5f80fd"), "code of a box");
        }
    }

    function testFuzz_boxRejectsEveryCall(uint256 index, bytes calldata data, bool fromTheLock) public {
        address box = lock.boxAt(index % lock.BOXES());
        if (fromTheLock) VM.prank(address(lock));
        (bool accepted,) = box.call(data);
        check(!accepted, "a box accepted a call");
    }

    function test_nobodyButTheLockDrawsOnABox() public {
        address box = lock.boxAt(0);
        checkEqual(chains[TRANSACTION].asset.allowance(box, address(lock)), type(uint256).max, "allowance of the lock");
        VM.prank(bob);
        VM.expectRevert(abi.encodeWithSelector(ERC20InsufficientAllowance.selector, bob, 0, 1));
        chains[TRANSACTION].asset.transferFrom(box, bob, 1);
    }

    function test_tokensSentToABoxChangeNothing() public {
        uint256 pool = _state(TRANSACTION, FIRST).pool;
        address box = lock.boxAt(3);
        VM.prank(alice);
        chains[TRANSACTION].asset.transfer(box, 100);
        checkEqual(_state(TRANSACTION, FIRST).pool, pool, "pool");
        checkEqual(_boxed(TRANSACTION), 2 * pool + 100, "boxes");
    }

    function test_aLargeReleaseDrawsOnAllBoxes() public {
        VM.prank(COMPANY);
        chains[FIRST].asset.transfer(alice, ALLOTMENT);
        uint256 pool = _state(TRANSACTION, FIRST).pool;
        _lock(FIRST, TRANSACTION, alice, ALLOTMENT + FUNDS, aliasOfBob, aliasOfAlice);
        _relay(FIRST, TRANSACTION);

        checkEqual(_balance(TRANSACTION, bob), FUNDS + ALLOTMENT + FUNDS, "credited");
        checkEqual(_state(TRANSACTION, FIRST).pool, pool - ALLOTMENT - FUNDS, "pool");
    }

    /* WHOSE ASSETS */

    function test_lockMovesTheCallersAssetsOnly() public {
        // Alice has approved the lock without limit; carol has nothing.
        address carol = address(0xCA201);
        VM.prank(carol);
        VM.expectRevert(abi.encodeWithSelector(ERC20InsufficientAllowance.selector, address(lock), 0, 1));
        lock.lock(route, 1, aliasOfBob, aliasOfBob, 0);
        checkEqual(_balance(TRANSACTION, alice), FUNDS, "balance of a bystander");
    }

    function test_marketMovesTheCallersTokensOnly() public {
        VM.prank(alice);
        chains[TRANSACTION].asset.approve(address(market), type(uint256).max);
        // Tokens that somebody lost to the market do not pay for anybody either.
        VM.prank(alice);
        chains[TRANSACTION].asset.transfer(address(market), 5);

        VM.prank(bob);
        VM.expectRevert(abi.encodeWithSelector(ERC20InsufficientAllowance.selector, address(market), 0, 5));
        market.buy(route, 5, aliasOfBob, aliasOfBob, 0);
        checkEqual(_balance(TRANSACTION, address(market)), 5, "balance of the market");
    }

    function testFuzz_onlyTheMarketLocksPurchases(address caller) public {
        if (caller == address(market)) return;
        VM.prank(caller);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.NotTheMarket.selector, caller, address(market)));
        lock.lockPurchase(route, 1, aliasOfBob, aliasOfBob, 0);
    }

    function test_purchaseIsMarkedAndRefundsTheBuyer() public {
        VM.prank(alice);
        chains[TRANSACTION].asset.approve(address(market), 30);
        VM.prank(alice);
        market.buy(route, 30, unknownAlias, aliasOfAlice, 0);
        _collect();
        bytes memory transfer = outgoing[address(lock)][route];
        checkEqual(uint8(transfer[62]), uint256(Purpose.Purchase), "purpose");

        _relay(TRANSACTION, FIRST);
        _relay(FIRST, TRANSACTION);
        checkEqual(_balance(TRANSACTION, alice), FUNDS, "refunded");
        checkEqual(_balance(TRANSACTION, address(market)), 0, "balance of the market");
    }

    /* PERMITS */

    function _permit(uint256 key, address spender, uint256 value) internal returns (Permit memory permit) {
        IERC20Permit token = IERC20Permit(address(chains[TRANSACTION].asset));
        address owner = VM.addr(key);
        bytes32 digest = keccak256(
            abi.encodePacked(
                hex"1901",
                token.DOMAIN_SEPARATOR(),
                keccak256(abi.encode(PERMIT_TYPEHASH, owner, spender, value, token.nonces(owner), type(uint256).max))
            )
        );
        (permit.v, permit.r, permit.s) = VM.sign(key, digest);
        (permit.value, permit.deadline) = (value, type(uint256).max);
    }

    function test_usedPermitIsIgnoredIfTheAllowanceSuffices() public {
        address carol = VM.addr(7);
        _issue(carol, 100);
        Permit memory permit = _permit(7, address(lock), 40);
        // Bob sees it in the mempool and is first.
        VM.prank(bob);
        IERC20Permit(address(chains[TRANSACTION].asset))
            .permit(carol, address(lock), permit.value, permit.deadline, permit.v, permit.r, permit.s);

        VM.prank(carol);
        lock.lockWithPermit(route, 40, aliasOfBob, aliasOfBob, 0, permit);
        checkEqual(_balance(TRANSACTION, carol), 60, "balance");
        checkEqual(chains[TRANSACTION].asset.allowance(carol, address(lock)), 0, "allowance left");
    }

    function test_permitOfAnotherIsOfNoUse() public {
        address carol = VM.addr(7);
        _issue(carol, 100);
        Permit memory permit = _permit(7, address(lock), 40);
        address dave = address(0xDA7E);
        VM.prank(dave);
        VM.expectRevert(abi.encodeWithSelector(ERC20InsufficientAllowance.selector, address(lock), 0, 40));
        lock.lockWithPermit(route, 40, aliasOfBob, aliasOfBob, 0, permit);

        // Not even after it was used: the lock asks the caller, whoever has approved it.
        VM.prank(bob);
        IERC20Permit(address(chains[TRANSACTION].asset))
            .permit(carol, address(lock), permit.value, permit.deadline, permit.v, permit.r, permit.s);
        VM.prank(dave);
        VM.expectRevert(abi.encodeWithSelector(ERC20InsufficientAllowance.selector, address(lock), 0, 40));
        lock.lockWithPermit(route, 40, aliasOfBob, aliasOfBob, 0, permit);
        checkEqual(_balance(TRANSACTION, carol), 100, "balance");
    }

    function test_permitForTheLockDoesNotPayTheMarket() public {
        address carol = VM.addr(7);
        _issue(carol, 100);
        Permit memory permit = _permit(7, address(lock), 40);
        VM.prank(carol);
        VM.expectRevert(abi.encodeWithSelector(ERC20InsufficientAllowance.selector, address(market), 0, 40));
        market.buyWithPermit(route, 40, aliasOfBob, aliasOfBob, 0, permit);
    }

    function test_permitPaysAPurchase() public {
        address carol = VM.addr(7);
        _issue(carol, 100);
        Permit memory permit = _permit(7, address(market), 40);
        VM.prank(carol);
        checkEqual(market.buyWithPermit(route, 40, aliasOfBob, aliasOfBob, 0, permit), 1, "position");
        checkEqual(_balance(TRANSACTION, carol), 60, "balance");
    }

    /* NUMBERS */

    function test_lockRejectsWhatItCannotSend() public {
        VM.startPrank(alice);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.UnknownRoute.selector, bytes32(0)));
        lock.lock(0, 1, aliasOfBob, aliasOfBob, 0);
        VM.expectRevert(ITransactionLock.ZeroAmount.selector);
        lock.lock(route, 0, aliasOfBob, aliasOfBob, 0);
        VM.expectRevert(ITransactionLock.ZeroAlias.selector);
        lock.lock(route, 1, 0, aliasOfBob, 0);
        VM.expectRevert(ITransactionLock.ZeroAlias.selector);
        lock.lock(route, 1, aliasOfBob, 0, 0);
        VM.expectRevert(abi.encodeWithSelector(ERC20InsufficientBalance.selector, alice, FUNDS, FUNDS + 1));
        lock.lock(route, FUNDS + 1, aliasOfBob, aliasOfBob, 0);
        VM.stopPrank();
    }

    function test_lockTakesADeadlineUpToItsLastSecond() public {
        uint256 time = chains[TRANSACTION].time;
        VM.startPrank(alice);
        lock.lock(route, 1, aliasOfBob, aliasOfBob, type(uint40).max);
        lock.lock(route, 1, aliasOfBob, aliasOfBob, uint40(time + 1));
        lock.lock(route, 1, aliasOfBob, aliasOfBob, uint40(time));
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.DeadlineInThePast.selector, time - 1, time));
        lock.lock(route, 1, aliasOfBob, aliasOfBob, uint40(time - 1));
        VM.stopPrank();
    }

    function test_transferIsCreditedAtItsDeadlineAndBouncedAfter() public {
        uint40 deadline = uint40(chains[TRANSACTION].time + 100);
        _lock(TRANSACTION, FIRST, alice, 10, aliasOfBob, aliasOfAlice, deadline);
        ITransactionLock.Packet memory packet = _everything(TRANSACTION, FIRST);
        chains[FIRST].time = deadline;
        _enter(FIRST);
        chains[FIRST].lock.deliver(_routeTo(TRANSACTION), packet);
        checkEqual(_balance(FIRST, bob), FUNDS + 10, "credited at the deadline");

        _lock(TRANSACTION, FIRST, alice, 10, aliasOfBob, aliasOfAlice, deadline);
        packet = _everything(TRANSACTION, FIRST);
        chains[FIRST].time = deadline + 1;
        _enter(FIRST);
        chains[FIRST].lock.deliver(_routeTo(TRANSACTION), packet);
        checkEqual(_balance(FIRST, bob), FUNDS + 10, "not credited after it");
        _relay(FIRST, TRANSACTION);
        checkEqual(_balance(TRANSACTION, alice), FUNDS - 10, "returned");
    }

    function test_largestAmountComesHomeAgain() public {
        uint256 most = type(uint96).max;
        _issue(alice, most);
        VM.prank(alice);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.AmountTooLarge.selector, most + 1, most));
        lock.lock(route, most + 1, aliasOfBob, aliasOfAlice, 0);

        _lock(TRANSACTION, FIRST, alice, most, aliasOfBob, aliasOfAlice);
        _relay(TRANSACTION, FIRST);
        checkEqual(_balance(FIRST, bob), FUNDS, "the pool there was short");
        _relay(FIRST, TRANSACTION);
        checkEqual(_balance(TRANSACTION, alice), FUNDS + most, "returned");
    }

    function test_poolNeverOverflows() public {
        uint256 most = type(uint96).max;
        _issue(alice, 257 * most);
        VM.startPrank(alice);
        for (uint256 i; i < 255; ++i) {
            lock.lock(route, most, aliasOfBob, aliasOfAlice, 0);
        }
        uint256 room = type(uint104).max - _state(TRANSACTION, FIRST).pool;
        lock.lock(route, room, aliasOfBob, aliasOfAlice, 0);
        VM.expectRevert(
            abi.encodeWithSelector(
                ITransactionLock.AmountTooLarge.selector, uint256(type(uint104).max) + 1, type(uint104).max
            )
        );
        lock.lock(route, 1, aliasOfBob, aliasOfAlice, 0);
        VM.stopPrank();
        checkEqual(_state(TRANSACTION, FIRST).pool, type(uint104).max, "pool");
    }

    function testFuzz_lockRejectsWhatTheOtherChainCannotExpress(uint256 amount) public {
        amount = 1 + amount % FUNDS;
        // A second lock on the transaction chain stands for a chain whose asset is half as fine: 3 here are 2 there.
        (ITransactionLock other, bytes32 key) = _thirds();
        VM.prank(alice);
        chains[TRANSACTION].asset.approve(address(other), amount);
        VM.prank(alice);
        if (amount % 3 != 0) {
            VM.expectRevert(abi.encodeWithSelector(ITransactionLock.InexactAmount.selector, amount, 3));
        }
        other.lock(key, amount, aliasOfBob, aliasOfAlice, 0);
        checkEqual(other.routeState(key).pool, amount % 3 == 0 ? amount / 3 : 0, "pool");
    }

    function _thirds() internal returns (ITransactionLock other, bytes32 key) {
        other = ITransactionLock(
            VM.deployCode(
                "TransactionLock.sol",
                abi.encode(
                    chains[TRANSACTION].manager,
                    chains[TRANSACTION].asset,
                    chains[TRANSACTION].aliases,
                    COMPANY,
                    chains[TRANSACTION].genesisHash
                )
            )
        );
        ITransactionLock.RouteTerms memory terms =
            ITransactionLock.RouteTerms(_state(TRANSACTION, FIRST).lightClient, CONFIRMATIONS, 3, 2);
        VM.prank(COMPANY);
        key = other.addRoute(_counterpart(FIRST), terms, 0);
    }

    /* PACKETS */

    function test_packetDeliversOnceHoweverOftenItComes() public {
        _lock(TRANSACTION, FIRST, alice, 10, aliasOfBob, aliasOfAlice);
        _lock(TRANSACTION, FIRST, alice, 20, aliasOfBob, aliasOfAlice);
        ITransactionLock.Packet memory packet = _everything(TRANSACTION, FIRST);
        _enter(FIRST);
        bytes32 key = _routeTo(TRANSACTION);
        packet.limit = 1;
        checkEqual(chains[FIRST].lock.deliver(key, packet), 1, "the first");
        checkEqual(chains[FIRST].lock.deliver(key, packet), 1, "the second");
        checkEqual(chains[FIRST].lock.deliver(key, packet), 0, "nothing is left");
        checkEqual(_balance(FIRST, bob), FUNDS + 30, "credited once each");
    }

    function test_packetDoesNotServeAnotherRouteOrChain() public {
        _lock(TRANSACTION, FIRST, alice, 10, aliasOfBob, aliasOfAlice);
        ITransactionLock.Packet memory packet = _everything(TRANSACTION, FIRST);
        _enter(SECOND);
        bytes32 key = _routeTo(TRANSACTION);
        // The same sealers vouch for it there: what tells it apart is the slot of the outbox.
        (bool accepted,) = address(chains[SECOND].lock).call(abi.encodeCall(ITransactionLock.deliver, (key, packet)));
        check(!accepted, "a packet served another chain");
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.UnknownRoute.selector, bytes32(uint256(1))));
        chains[SECOND].lock.deliver(bytes32(uint256(1)), packet);
    }

    function test_seedAloneTellsChainsApart() public {
        // Three chains with locks at one address, one the first begun anew, and a light client that takes all alike.
        StubLightClient stub = new StubLightClient();
        ITransactionLock.RouteTerms memory terms = ITransactionLock.RouteTerms(stub, 0, 1, 1);
        address peer = address(0x10CC);
        VM.startPrank(COMPANY);
        bytes32 one = lock.addRoute(ITransactionLock.Counterpart(50, "genesis", peer), terms, 10);
        bytes32 other = lock.addRoute(ITransactionLock.Counterpart(51, "genesis", peer), terms, 10);
        bytes32 anew = lock.addRoute(ITransactionLock.Counterpart(50, "anew", peer), terms, 10);
        VM.stopPrank();

        ITransactionLock.Packet memory packet;
        packet.outbox = lock.routeState(one).inbox;
        packet.transfers = abi.encode(bytes32(aliasOfBob) | bytes32(uint256(10)), bytes32(aliasOfBob));
        packet.limit = 1;
        bytes32 proven = keccak256(bytes.concat(packet.outbox, packet.transfers));
        bytes32 stateRoot;
        (stateRoot, packet.accountProof, packet.storageProof) =
            SyntheticState.prove(peer, keccak256(abi.encode(_routeTo(TRANSACTION), SLOT_OF_ROUTES)), proven);
        stub.set(100, stateRoot);

        for (uint256 i; i < 2; ++i) {
            bytes32 key = i == 0 ? other : anew;
            bytes32 inbox = lock.routeState(key).inbox;
            packet.outbox = lock.routeState(one).inbox;
            VM.expectRevert(abi.encodeWithSelector(ITransactionLock.InboxMismatch.selector, packet.outbox, inbox));
            lock.deliver(key, packet);
            packet.outbox = inbox;
            VM.expectPartialRevert(ITransactionLock.OutboxMismatch.selector);
            lock.deliver(key, packet);
        }
        packet.outbox = lock.routeState(one).inbox;
        checkEqual(lock.deliver(one, packet), 1, "processed where it belongs");
        checkEqual(_balance(TRANSACTION, bob), FUNDS + 10, "credited");
    }

    function test_packetMustBeginAtTheInboxOrBefore() public {
        _lock(TRANSACTION, FIRST, alice, 10, aliasOfBob, aliasOfAlice);
        ITransactionLock.Packet memory packet = _everything(TRANSACTION, FIRST);
        packet.position = 1;
        _enter(FIRST);
        bytes32 key = _routeTo(TRANSACTION);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.PacketAhead.selector, 1, 0));
        chains[FIRST].lock.deliver(key, packet);
        packet.position = type(uint256).max;
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.PacketAhead.selector, type(uint256).max, 0));
        chains[FIRST].lock.deliver(key, packet);
    }

    function test_littleGasDelaysACreditAndNeverBouncesIt() public {
        _lock(TRANSACTION, FIRST, alice, 10, aliasOfBob, aliasOfAlice);
        ITransactionLock.Packet memory packet = _everything(TRANSACTION, FIRST);
        _enter(FIRST);
        bytes memory call = abi.encodeCall(ITransactionLock.deliver, (_routeTo(TRANSACTION), packet));
        uint256 gasGiven = 30_000;
        for (bool accepted; !accepted; gasGiven += 500) {
            (accepted,) = address(chains[FIRST].lock).call{gas: gasGiven}(call);
            checkEqual(_state(FIRST, TRANSACTION).outboxPosition, 0, "bounces");
        }
        checkEqual(_balance(FIRST, bob), FUNDS + 10, "credited");
    }

    function test_brokenChainCannotTouchTheValueBehindAnother() public {
        uint256 pool = _state(TRANSACTION, FIRST).pool;
        ITransactionLock.Packet memory packet =
            _forged(FIRST, TRANSACTION, bytes32(aliasOfBob) | bytes32(pool + 1), bytes32(aliasOfAlice));
        _enter(TRANSACTION);
        checkEqual(lock.deliver(route, packet), 1, "processed");
        checkEqual(_balance(TRANSACTION, bob), FUNDS, "bounced");
        checkEqual(_state(TRANSACTION, SECOND).pool, pool, "pool of the other route");
        checkEqual(_boxed(TRANSACTION), 2 * pool, "boxes");
    }

    /* CLAIMS */

    function test_claimPaysTheOwnerOnceWhoeverAsks() public {
        _lock(TRANSACTION, FIRST, alice, 10, unknownAlias, unknownAlias);
        _relay(TRANSACTION, FIRST);
        _relay(FIRST, TRANSACTION);
        checkEqual(lock.CLAIMS().waiting(route, unknownAlias).funded, 10, "waiting");

        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.AliasNotRegistered.selector, unknownAlias));
        lock.claim(route, unknownAlias);
        VM.prank(alice);
        chains[TRANSACTION].aliases.register(bytes32(uint256(2)));
        bytes32 other = _routeTo(SECOND);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.NothingToClaim.selector, other, unknownAlias));
        lock.claim(other, unknownAlias);
        VM.prank(bob);
        checkEqual(lock.claim(route, unknownAlias), 10, "claimed");
        checkEqual(_balance(TRANSACTION, alice), FUNDS, "returned");
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.NothingToClaim.selector, route, unknownAlias));
        lock.claim(route, unknownAlias);
    }

    function test_bounceWaitsWhereOthersTookTheRights() public {
        // More tokens than rights: while Alice's rights are on their way, Bob takes all that the pool holds.
        _lock(FIRST, TRANSACTION, alice, 10, unknownAlias, aliasOfAlice);
        _issue(bob, ALLOTMENT + 10);
        _lock(TRANSACTION, FIRST, bob, ALLOTMENT + 10, aliasOfBob, aliasOfBob);
        _relay(TRANSACTION, FIRST);
        _relay(FIRST, TRANSACTION);
        _relay(TRANSACTION, FIRST);
        bytes32 home = _routeTo(TRANSACTION);
        checkEqual(chains[FIRST].lock.CLAIMS().waiting(home, aliasOfAlice).unfunded, 10, "waiting");

        _lock(FIRST, TRANSACTION, bob, 4, aliasOfBob, aliasOfBob);
        checkEqual(chains[FIRST].lock.claim(home, aliasOfAlice), 4, "claimed");
        _lock(FIRST, TRANSACTION, bob, 100, aliasOfBob, aliasOfBob);
        checkEqual(chains[FIRST].lock.claim(home, aliasOfAlice), 6, "the rest");
        checkEqual(_balance(FIRST, alice), FUNDS, "nothing was lost");
    }

    function test_unfundedClaimTakesWhatThereIs() public {
        uint256 pool = _state(TRANSACTION, FIRST).pool;
        _deliverForgedBounce(pool + 50);
        checkEqual(lock.claim(route, aliasOfBob), pool, "claimed");
        checkEqual(_state(TRANSACTION, FIRST).pool, 0, "pool");
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.NothingToClaim.selector, route, aliasOfBob));
        lock.claim(route, aliasOfBob);
        _lock(TRANSACTION, FIRST, alice, 60, aliasOfAlice, aliasOfAlice);
        checkEqual(lock.claim(route, aliasOfBob), 50, "the rest");
        checkEqual(_state(TRANSACTION, FIRST).pool, 10, "pool");
    }

    function _deliverForgedBounce(uint256 lots) internal {
        ITransactionLock.Packet memory packet =
            _forged(FIRST, TRANSACTION, bytes32(aliasOfBob) | bytes32(lots), bytes32(uint256(Purpose.Bounce) << 8));
        _enter(TRANSACTION);
        lock.deliver(route, packet);
    }
}
