// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IDispatch} from "../../../contracts/interfaces/IDispatch.sol";
import {ISettlement} from "../../../contracts/interfaces/ISettlement.sol";
import {HostileToken} from "../support/HostileToken.sol";
import {VM, check, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @notice Rights that call back while they move find dispatch and settlement closed.
contract ScheduleReentrancyTest is Grid {
    /// @dev OpenZeppelin's.
    error ReentrancyGuardReentrantCall();

    address internal user = address(0xA);
    uint32 internal station;

    function _deployRights() internal override returns (IERC20) {
        return new HostileToken(COMPANY);
    }

    function setUp() public {
        station = _register(100, 50, true, true);
        _fund(station, 20);
        _line(user, station, 0);
        _welcome(user, 50);
    }

    function _arm(address target, bytes memory call) internal {
        HostileToken(address(rights)).arm(target, call);
    }

    function _checkRefused() internal view {
        HostileToken token = HostileToken(address(rights));
        check(!token.succeeded(), "a re-entrant call succeeded");
        checkEqual(
            bytes32(token.output()), bytes32(ReentrancyGuardReentrantCall.selector), "why a re-entrant call failed"
        );
    }

    function test_paymentsRefuseToReenterTheDispatch() public {
        bytes[5] memory calls = [
            abi.encodeCall(IDispatch.connect, (BUY, 0)),
            abi.encodeCall(IDispatch.draw, (BUY, 1, 0)),
            abi.encodeCall(IDispatch.close, (BUY, 0)),
            abi.encodeCall(IDispatch.closeIdle, (user, BUY)),
            abi.encodeCall(IDispatch.accept, (user, 1, 1000))
        ];
        _apply(user, SELL, 5, 0);
        for (uint64 i; i < 5; ++i) {
            _arm(address(dispatch), calls[i]);
            _apply(user, BUY, 1, 1000);
            _checkRefused();
            check(_accept(user, 1, (i + 1) * 1000), "not accepted");
            _checkRefused();
        }
        checkEqual(settlement.freeOf(station), 20_000, "five earned and five spent");
        checkEqual(rights.balanceOf(address(settlement)), 20_000, "rights held");
    }

    function test_settlementRefusesToBeReentered() public {
        bytes[2] memory calls =
            [abi.encodeCall(ISettlement.settle, (station)), abi.encodeCall(ISettlement.fund, (station, 0))];
        for (uint256 i; i < 2; ++i) {
            _arm(address(settlement), calls[i]);
            _apply(user, BUY, 1, 1000);
            _checkRefused();
            VM.warp(block.timestamp + PERIOD);
            settlement.settle(station);
            _checkRefused();
            _fund(station, 1);
            _checkRefused();
        }
        checkEqual(rights.balanceOf(address(settlement)), settlement.freeOf(station), "rights held");
    }
}
