// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

import {IDelayedAccess} from "../../contracts/interfaces/IDelayedAccess.sol";
import {ILightClient} from "../../contracts/interfaces/ILightClient.sol";
import {IQuorumLightClient} from "../../contracts/interfaces/IQuorumLightClient.sol";
import {ITransactionLock} from "../../contracts/interfaces/ITransactionLock.sol";
import {TRANSACTION} from "./support/Network.sol";
import {Routes} from "./support/Routes.sol";
import {VM, check, checkEqual} from "./support/Vm.sol";

/// @notice Light client, sealers, confirmations, market and the end of a freeze change only in public: announced to
/// the manager, and after the delay.
contract DelayedRulesTest is Routes {
    uint64 internal constant RULES = 7;
    uint32 internal constant DELAY = 2 days;

    address internal operator = address(0x09E7A702);
    IAccessManager internal manager;
    ITransactionLock internal lock;
    bytes32 internal route;
    address internal lightClient;

    function setUp() public override {
        super.setUp();
        manager = IAccessManager(chains[TRANSACTION].manager);
        lock = chains[TRANSACTION].lock;
        route = _routeTo(FIRST);
        lightClient = address(_state(TRANSACTION, FIRST).lightClient);

        _enter(TRANSACTION);
        VM.startPrank(COMPANY);
        manager.grantRole(RULES, operator, DELAY);
        bytes4[] memory selectors = new bytes4[](5);
        selectors[0] = ITransactionLock.setMarket.selector;
        selectors[1] = ITransactionLock.setLightClient.selector;
        selectors[2] = ITransactionLock.setConfirmations.selector;
        selectors[3] = ITransactionLock.unfreeze.selector;
        selectors[4] = IQuorumLightClient.setSealers.selector;
        manager.setTargetFunctionRole(address(lock), selectors, RULES);
        manager.setTargetFunctionRole(lightClient, selectors, RULES);
        VM.stopPrank();
    }

    /* THE RULES */

    function test_lightClientChangesAfterTheDelayOnly() public {
        address other = address(_state(TRANSACTION, SECOND).lightClient);
        _checkRule(address(lock), abi.encodeCall(ITransactionLock.setLightClient, (route, ILightClient(other))));
        checkEqual(address(_state(TRANSACTION, FIRST).lightClient), other, "light client");
        checkEqual(address(_state(TRANSACTION, SECOND).lightClient), other, "light client of the other route");
    }

    function test_confirmationsChangeAfterTheDelayOnly() public {
        _checkRule(address(lock), abi.encodeCall(ITransactionLock.setConfirmations, (route, 12)));
        checkEqual(_state(TRANSACTION, FIRST).confirmations, 12, "confirmations");
        checkEqual(_state(TRANSACTION, SECOND).confirmations, CONFIRMATIONS, "confirmations of the other route");
    }

    function test_anotherMarketChangesAfterTheDelayOnly() public {
        address other = VM.deployCode("EnergyMarket.sol", abi.encode(lock));
        _checkRule(address(lock), abi.encodeCall(ITransactionLock.setMarket, (other)));
        checkEqual(lock.market(), other, "market");
    }

    function test_sealersChangeAfterTheDelayOnly() public {
        address[] memory sealers = _sealersOf(SECOND);
        _checkRule(lightClient, abi.encodeCall(IQuorumLightClient.setSealers, (sealers)));
        checkEqual(
            keccak256(abi.encode(IQuorumLightClient(lightClient).sealers())), keccak256(abi.encode(sealers)), "sealers"
        );
    }

    function test_freezeEndsAfterTheDelayOnly() public {
        _freeze(1);
        _checkRule(address(lock), abi.encodeCall(ITransactionLock.unfreeze, (route)));
        check(!_state(TRANSACTION, FIRST).frozen, "still frozen");
    }

    function test_rulesRejectWhatTheyCannotMean() public {
        _schedule(address(lock), abi.encodeCall(ITransactionLock.setMarket, (address(0))));
        _schedule(address(lock), abi.encodeCall(ITransactionLock.setConfirmations, (bytes32(0), 1)));
        _schedule(address(lock), abi.encodeCall(ITransactionLock.unfreeze, (route)));
        _pass(DELAY);
        VM.startPrank(operator);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.NoCode.selector, address(0)));
        lock.setMarket(address(0));
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.UnknownRoute.selector, bytes32(0)));
        lock.setConfirmations(0, 1);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.RouteIsNotFrozen.selector, route));
        lock.unfreeze(route);
        VM.stopPrank();
    }

    /* THE MANAGER */

    function test_managerIsForEver() public {
        address[3] memory targets = [address(lock), lightClient, address(chains[FIRST].lock)];
        for (uint256 i; i < targets.length; ++i) {
            address authority = IAccessManaged(targets[i]).authority();
            bytes memory refusal = abi.encodeWithSelector(IDelayedAccess.AuthorityIsFixed.selector, authority);
            VM.prank(COMPANY);
            VM.expectRevert(refusal);
            IAccessManaged(targets[i]).setAuthority(address(manager));
            VM.prank(COMPANY);
            VM.expectRevert(refusal);
            IAccessManager(authority).updateAuthority(targets[i], address(lock));
        }
    }

    function testFuzz_strangersChangeNothing(address stranger) public {
        if (stranger == COMPANY || stranger == operator || stranger == address(manager)) return;
        ITransactionLock.RouteTerms memory terms =
            ITransactionLock.RouteTerms(_state(TRANSACTION, FIRST).lightClient, 0, 1, 1);
        bytes[3] memory calls = [
            abi.encodeCall(ITransactionLock.addRoute, (ITransactionLock.Counterpart(9, 0, address(9)), terms, 0)),
            abi.encodeCall(ITransactionLock.setMarket, (address(market))),
            abi.encodeCall(ITransactionLock.setConfirmations, (route, 0))
        ];
        for (uint256 i; i < calls.length; ++i) {
            VM.prank(stranger);
            (bool accepted, bytes memory reason) = address(lock).call(calls[i]);
            check(!accepted, "a stranger changed a rule");
            checkEqual(
                keccak256(reason),
                keccak256(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, stranger)),
                "why a stranger was rejected"
            );
        }
    }

    /* HELP */

    /// @dev Everything that may be tried with a change of a rule, ending with the one way that works.
    function _checkRule(address target, bytes memory call) internal {
        bytes4 selector = bytes4(call);
        bytes32 operation = manager.hashOperation(operator, target, call);

        // A member of the role without a delay is no exception: not directly, not through the manager.
        address hasty = address(0x4A57);
        VM.prank(COMPANY);
        manager.grantRole(RULES, hasty, 0);
        _expect(hasty, target, call, abi.encodeWithSelector(IDelayedAccess.DelayRequired.selector, hasty, selector));
        VM.prank(hasty);
        VM.expectRevert(abi.encodeWithSelector(IDelayedAccess.DelayRequired.selector, address(manager), selector));
        manager.execute(target, call);

        _expect(
            COMPANY, target, call, abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, COMPANY)
        );
        _expect(
            operator, target, call, abi.encodeWithSelector(IAccessManager.AccessManagerNotScheduled.selector, operation)
        );

        _schedule(target, call);
        _pass(DELAY - 1);
        _expect(
            operator, target, call, abi.encodeWithSelector(IAccessManager.AccessManagerNotReady.selector, operation)
        );
        _pass(1);
        VM.prank(operator);
        VM.expectRevert(abi.encodeWithSelector(IDelayedAccess.DelayRequired.selector, address(manager), selector));
        manager.execute(target, call);

        VM.prank(operator);
        (bool accepted,) = target.call(call);
        check(accepted, "a scheduled change was rejected");
        _expect(
            operator, target, call, abi.encodeWithSelector(IAccessManager.AccessManagerNotScheduled.selector, operation)
        );
    }

    function _expect(address caller, address target, bytes memory call, bytes memory reason) internal {
        VM.prank(caller);
        (bool accepted, bytes memory output) = target.call(call);
        check(!accepted, "a rule changed");
        checkEqual(keccak256(output), keccak256(reason), "why a change was rejected");
    }

    function _schedule(address target, bytes memory call) internal {
        VM.prank(operator);
        manager.schedule(target, call, 0);
    }

    function _pass(uint256 time) internal {
        chains[TRANSACTION].time += time;
        _enter(TRANSACTION);
    }

    function _freeze(uint256 number) internal {
        (bytes memory headerA, bytes memory sealA) = _sealed(FIRST, TRANSACTION, number, "a");
        (bytes memory headerB, bytes memory sealB) = _sealed(FIRST, TRANSACTION, number, "b");
        lock.reportEquivocation(route, headerA, sealA, headerB, sealB);
    }
}
