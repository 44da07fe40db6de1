// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {ITransactionLock, Permit} from "../../contracts/interfaces/ITransactionLock.sol";
import {HostileToken} from "./support/HostileToken.sol";
import {TRANSACTION} from "./support/Network.sol";
import {Routes} from "./support/Routes.sol";
import {VM, check, checkEqual} from "./support/Vm.sol";

/// @notice The asset of the first scheduling chain calls back into its lock while it moves.
contract ReentrancyTest is Routes {
    /// @dev OpenZeppelin's.
    error ReentrancyGuardReentrantCall();

    function _deployAsset(uint256 chain) internal override returns (IERC20) {
        return chain == FIRST ? new HostileToken(COMPANY) : super._deployAsset(chain);
    }

    function _arm(bytes memory call) internal {
        HostileToken(address(chains[FIRST].asset)).arm(address(chains[FIRST].lock), call);
    }

    function _checkRefused() internal view {
        HostileToken token = HostileToken(address(chains[FIRST].asset));
        check(!token.succeeded(), "a re-entrant call succeeded");
        checkEqual(
            bytes32(token.output()), bytes32(ReentrancyGuardReentrantCall.selector), "why a re-entrant call failed"
        );
    }

    function _calls() internal returns (bytes[5] memory calls) {
        bytes32 route = _routeTo(TRANSACTION);
        calls[0] = abi.encodeCall(ITransactionLock.lock, (route, 1, aliasOfBob, aliasOfBob, 0));
        calls[1] = abi.encodeCall(
            ITransactionLock.lockWithPermit, (route, 1, aliasOfBob, aliasOfBob, 0, Permit(0, 0, 0, 0, 0))
        );
        calls[2] = abi.encodeCall(ITransactionLock.deliver, (route, _everything(TRANSACTION, FIRST)));
        calls[3] = abi.encodeCall(ITransactionLock.claim, (route, aliasOfAlice));
        calls[4] = abi.encodeCall(ITransactionLock.reportEquivocation, (route, "", "", "", ""));
    }

    function test_lockRefusesToBeReentered() public {
        bytes[5] memory calls = _calls();
        for (uint256 i; i < calls.length; ++i) {
            _arm(calls[i]);
            _lock(FIRST, TRANSACTION, alice, 10, aliasOfAlice, aliasOfAlice);
            _checkRefused();
        }

        checkEqual(_state(FIRST, TRANSACTION).outboxPosition, calls.length, "locks");
        checkEqual(_state(FIRST, TRANSACTION).pool, ALLOTMENT + 10 * calls.length, "pool");
        checkEqual(_boxed(FIRST), ALLOTMENT + 10 * calls.length, "boxes");
    }

    function test_permitRefusesToReenter() public {
        bytes[5] memory calls = _calls();
        for (uint256 i; i < calls.length; ++i) {
            _arm(calls[i]);
            _enter(FIRST);
            bytes32 route = _routeTo(TRANSACTION);
            VM.prank(alice);
            chains[FIRST].lock.lockWithPermit(route, 10, aliasOfAlice, aliasOfAlice, 0, Permit(0, 0, 0, 0, 0));
            _checkRefused();
        }
        checkEqual(_state(FIRST, TRANSACTION).pool, ALLOTMENT + 10 * calls.length, "pool");
    }

    function test_deliveryRefusesToBeReentered() public {
        bytes[5] memory calls = _calls();
        for (uint256 i; i < calls.length; ++i) {
            _lock(TRANSACTION, FIRST, alice, 10, aliasOfAlice, aliasOfAlice);
            _lock(TRANSACTION, FIRST, alice, 20, unknownAlias, aliasOfAlice);
            if (i == 2) {
                calls[i] =
                    abi.encodeCall(ITransactionLock.deliver, (_routeTo(TRANSACTION), _everything(TRANSACTION, FIRST)));
            }
            _arm(calls[i]);
            checkEqual(_relay(TRANSACTION, FIRST), 2, "processed");
            _checkRefused();
        }

        checkEqual(_balance(FIRST, alice), FUNDS + 10 * calls.length, "credited once each");
        checkEqual(_state(FIRST, TRANSACTION).outboxPosition, calls.length, "bounces");
        checkEqual(_state(FIRST, TRANSACTION).pool, ALLOTMENT - 10 * calls.length, "pool");
        checkEqual(_boxed(FIRST), ALLOTMENT - 10 * calls.length, "boxes");
    }

    function test_claimRefusesToBeReentered() public {
        // It bounces there, and comes back to an alias that nobody registered yet.
        _lock(FIRST, TRANSACTION, alice, 10, unknownAlias, unknownAlias);
        _relay(FIRST, TRANSACTION);
        _relay(TRANSACTION, FIRST);
        VM.prank(alice);
        chains[FIRST].aliases.register(bytes32(uint256(2)));

        _arm(abi.encodeCall(ITransactionLock.claim, (_routeTo(TRANSACTION), unknownAlias)));
        checkEqual(chains[FIRST].lock.claim(_routeTo(TRANSACTION), unknownAlias), 10, "claimed");
        _checkRefused();
        checkEqual(_balance(FIRST, alice), FUNDS, "paid once");
        checkEqual(_boxed(FIRST), ALLOTMENT, "boxes");
    }
}
