// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

import {IQuorumLightClient} from "../../contracts/interfaces/IQuorumLightClient.sol";
import {ITransactionLock, Purpose} from "../../contracts/interfaces/ITransactionLock.sol";
import {TRANSACTION} from "./support/Network.sol";
import {Routes} from "./support/Routes.sol";
import {VM, check, checkEqual} from "./support/Vm.sol";

/// @notice Two sealed blocks of one height stop the route that they belong to, and that alone.
contract EquivocationTest is Routes {
    uint64 internal constant RULES = 7;

    ITransactionLock internal lock;
    bytes32 internal first;
    bytes32 internal second;

    function setUp() public override {
        super.setUp();
        lock = chains[TRANSACTION].lock;
        first = _routeTo(FIRST);
        second = _routeTo(SECOND);
        _enter(TRANSACTION);
    }

    function _report(uint256 number, bytes32 saltA, bytes32 saltB) internal {
        (bytes memory headerA, bytes memory sealA) = _sealed(FIRST, TRANSACTION, number, saltA);
        (bytes memory headerB, bytes memory sealB) = _sealed(FIRST, TRANSACTION, number, saltB);
        VM.prank(bob);
        lock.reportEquivocation(first, headerA, sealA, headerB, sealB);
    }

    function _unfreeze() internal {
        IAccessManager manager = IAccessManager(chains[TRANSACTION].manager);
        VM.prank(COMPANY);
        manager.grantRole(0, alice, 1 days);
        bytes memory call = abi.encodeCall(ITransactionLock.unfreeze, (first));
        VM.prank(alice);
        manager.schedule(address(lock), call, 0);
        chains[TRANSACTION].time += 1 days;
        _enter(TRANSACTION);
        VM.prank(alice);
        lock.unfreeze(first);
    }

    function test_frozenRouteNeitherLocksNorDeliversAndTheOtherDoes() public {
        _lock(FIRST, TRANSACTION, alice, 10, aliasOfBob, aliasOfAlice);
        _lock(SECOND, TRANSACTION, alice, 10, aliasOfBob, aliasOfAlice);
        ITransactionLock.Packet memory packet = _everything(FIRST, TRANSACTION);
        _enter(TRANSACTION);
        _report(5, "a", "b");

        check(_state(TRANSACTION, FIRST).frozen, "not frozen");
        check(!_state(TRANSACTION, SECOND).frozen, "the other route is frozen");
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.RouteIsFrozen.selector, first));
        lock.deliver(first, packet);
        VM.prank(alice);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.RouteIsFrozen.selector, first));
        lock.lock(first, 1, aliasOfBob, aliasOfAlice, 0);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.RouteIsFrozen.selector, first));
        lock.reportEquivocation(first, "", "", "", "");

        _lock(TRANSACTION, SECOND, alice, 1, aliasOfBob, aliasOfAlice);
        checkEqual(_relay(SECOND, TRANSACTION), 1, "processed on the other route");
        checkEqual(_relay(TRANSACTION, SECOND), 1, "processed on the other route");
        checkEqual(_balance(TRANSACTION, bob), FUNDS + 10, "credited");

        _enter(TRANSACTION);
        _unfreeze();
        checkEqual(lock.deliver(first, packet), 1, "processed after the freeze");
        checkEqual(_balance(TRANSACTION, bob), FUNDS + 20, "nothing was lost");
    }

    function test_evidenceServesOnce() public {
        _report(5, "a", "b");
        _unfreeze();
        VM.expectPartialRevert(ITransactionLock.EvidenceUsed.selector);
        this.report(5, "a", "b");
        VM.expectPartialRevert(ITransactionLock.EvidenceUsed.selector);
        this.report(5, "b", "a");

        _report(5, "a", "c");
        check(_state(TRANSACTION, FIRST).frozen, "new evidence did not freeze");
    }

    function report(uint256 number, bytes32 saltA, bytes32 saltB) external {
        _report(number, saltA, saltB);
    }

    function test_blocksThatDoNotContradictEachOtherFreezeNothing() public {
        (bytes memory header, bytes memory seal) = _sealed(FIRST, TRANSACTION, 5, "a");
        (bytes memory later, bytes memory sealOfLater) = _sealed(FIRST, TRANSACTION, 6, "b");
        VM.expectRevert(
            abi.encodeWithSelector(ITransactionLock.NoEquivocation.selector, 5, 5, keccak256(header), keccak256(header))
        );
        lock.reportEquivocation(first, header, seal, header, seal);
        VM.expectRevert(
            abi.encodeWithSelector(ITransactionLock.NoEquivocation.selector, 5, 6, keccak256(header), keccak256(later))
        );
        lock.reportEquivocation(first, header, seal, later, sealOfLater);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.UnknownRoute.selector, bytes32(0)));
        lock.reportEquivocation(0, header, seal, later, sealOfLater);
        check(!_state(TRANSACTION, FIRST).frozen, "frozen");
    }

    function test_onlyTheSealersOfTheRouteCanEquivocate() public {
        (bytes memory headerA, bytes memory sealA) = _sealed(FIRST, TRANSACTION, 5, "a");
        (bytes memory headerB, bytes memory sealB) = _sealed(SECOND, TRANSACTION, 5, "b");
        VM.expectPartialRevert(IQuorumLightClient.SealerSetMismatch.selector);
        lock.reportEquivocation(first, headerA, sealA, headerB, sealB);
        VM.expectPartialRevert(IQuorumLightClient.SealerSetMismatch.selector);
        lock.reportEquivocation(second, headerA, sealA, headerA, sealA);
    }

    function test_whatWaitedIsPaidDuringAFreezeButNothingMoreLeavesThePool() public {
        uint256 pool = _state(TRANSACTION, FIRST).pool;
        _lock(TRANSACTION, FIRST, alice, 10, unknownAlias, unknownAlias);
        _relay(TRANSACTION, FIRST);
        _relay(FIRST, TRANSACTION);
        // Forged on top of it: a bounce for the same alias that the pool is short of.
        bytes32 word1 = bytes32(unknownAlias) | bytes32(pool + 1);
        bytes32 word2 = bytes32(uint256(Purpose.Bounce) << 8);
        ITransactionLock.Packet memory packet = _packet(
            TRANSACTION,
            FIRST,
            chains[FIRST].number,
            0,
            keccak256(abi.encode(_state(TRANSACTION, FIRST).inbox, word1, word2))
        );
        (packet.position, packet.outbox) = (1, _state(TRANSACTION, FIRST).inbox);
        packet.transfers = abi.encode(word1, word2);
        _enter(TRANSACTION);
        lock.deliver(first, packet);
        _lock(TRANSACTION, FIRST, bob, 500, aliasOfBob, aliasOfBob);
        _report(5, "a", "b");

        VM.prank(alice);
        chains[TRANSACTION].aliases.register(bytes32(uint256(2)));
        checkEqual(lock.claim(first, unknownAlias), 10, "set aside before");
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.NothingToClaim.selector, first, unknownAlias));
        lock.claim(first, unknownAlias);
        checkEqual(_state(TRANSACTION, FIRST).pool, pool + 500, "pool");
    }
}
