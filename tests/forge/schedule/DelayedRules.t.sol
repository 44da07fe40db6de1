// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

import {IDelayedAccess} from "../../../contracts/interfaces/IDelayedAccess.sol";
import {ISettlement} from "../../../contracts/interfaces/ISettlement.sol";
import {IStationRegistry, Rules} from "../../../contracts/interfaces/IStationRegistry.sol";
import {VM, Vm, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @notice The rules of dispatch and the period change in public only, and each change is on record.
contract ScheduleRulesTest is Grid {
    uint64 internal constant RULES = 7;
    uint32 internal constant DELAY = 2 days;

    address internal operator = address(0x09E7A702);
    address internal user = address(0xA);

    function setUp() public {
        IAccessManager m = IAccessManager(manager);
        bytes4[] memory selectors = new bytes4[](2);
        selectors[0] = IStationRegistry.setRules.selector;
        selectors[1] = ISettlement.setPeriod.selector;
        VM.startPrank(COMPANY);
        m.grantRole(RULES, operator, DELAY);
        m.setTargetFunctionRole(address(dispatch), selectors, RULES);
        m.setTargetFunctionRole(address(settlement), selectors, RULES);
        VM.stopPrank();
        _welcome(user, 100);
        _line(user, _register(100, 50, true, true), 0);
    }

    function _schedule(address target, bytes memory call) internal {
        VM.prank(operator);
        IAccessManager(manager).schedule(target, call, 0);
        VM.warp(block.timestamp + DELAY);
    }

    function test_theRulesOfADeploymentAreOnRecord() public {
        Rules memory initial = Rules(4, 3_000, 20);
        VM.recordLogs();
        VM.deployCode("Dispatch.sol", abi.encode(manager, rights, COMPANY, UNIT, initial, PERIOD));

        Vm.Log[] memory logs = VM.getRecordedLogs();
        checkEqual(
            keccak256(_onlyOne(logs, IStationRegistry.RulesChanged.selector)),
            keccak256(abi.encode(Rules(0, 0, 0), initial)),
            "rules"
        );
        checkEqual(
            keccak256(_onlyOne(logs, ISettlement.PeriodChanged.selector)), keccak256(abi.encode(0, PERIOD)), "period"
        );
    }

    function _onlyOne(Vm.Log[] memory logs, bytes32 signature) internal pure returns (bytes memory data) {
        checkEqual(_count(logs, signature), 1, "entries");
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] == signature) data = logs[i].data;
        }
    }

    function test_rulesChangeAfterTheDelayOnly() public {
        Rules memory changed = Rules(3, 5_000, 7);
        VM.prank(operator);
        VM.expectPartialRevert(IAccessManager.AccessManagerNotScheduled.selector);
        dispatch.setRules(changed);

        _schedule(address(dispatch), abi.encodeCall(IStationRegistry.setRules, (changed)));
        VM.expectEmit(address(dispatch));
        emit IStationRegistry.RulesChanged(Rules(K, RESERVE, IDLE_BLOCKS), changed);
        VM.prank(operator);
        dispatch.setRules(changed);

        (uint16 k, uint48 reserve, uint32 idle) = dispatch.rules();
        checkEqual(k, 3, "k");
        checkEqual(reserve, 5_000, "reserve");
        checkEqual(idle, 7, "idle blocks");
        (, uint256 drawn) = _apply(user, BUY, 10, 0);
        checkEqual(drawn, 3, "drawn");
    }

    function test_periodChangesAfterTheDelayOnly() public {
        VM.prank(operator);
        VM.expectPartialRevert(IAccessManager.AccessManagerNotScheduled.selector);
        settlement.setPeriod(1 days);

        _schedule(address(settlement), abi.encodeCall(ISettlement.setPeriod, (1 days)));
        VM.expectEmit(address(settlement));
        emit ISettlement.PeriodChanged(PERIOD, 1 days);
        VM.prank(operator);
        settlement.setPeriod(1 days);
        checkEqual(settlement.period(), 1 days, "period");
        settlement.settle(1);
    }

    function test_aRoleWithoutADelayChangesNoRule() public {
        VM.startPrank(COMPANY);
        IAccessManager(manager).grantRole(RULES, STRANGER, 0);
        VM.stopPrank();
        VM.startPrank(STRANGER);
        VM.expectRevert(
            abi.encodeWithSelector(IDelayedAccess.DelayRequired.selector, STRANGER, IStationRegistry.setRules.selector)
        );
        dispatch.setRules(Rules(1, 1, 1));
        VM.expectRevert(
            abi.encodeWithSelector(IDelayedAccess.DelayRequired.selector, STRANGER, ISettlement.setPeriod.selector)
        );
        settlement.setPeriod(1);
        VM.stopPrank();
    }

    function test_strangersChangeNoRule() public {
        VM.startPrank(STRANGER);
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER));
        dispatch.setRules(Rules(1, 1, 1));
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER));
        settlement.setPeriod(1);
        VM.stopPrank();
    }

    function test_rulesRejectWhatTheyCannotMean() public {
        Rules[2] memory wrong = [Rules(0, 1, 1), Rules(1, 1, 0)];
        for (uint256 i; i < 2; ++i) {
            _schedule(address(dispatch), abi.encodeCall(IStationRegistry.setRules, (wrong[i])));
            VM.prank(operator);
            VM.expectRevert(
                abi.encodeWithSelector(
                    IStationRegistry.InvalidRules.selector, wrong[i].unitsPerConnection, wrong[i].idleBlocks
                )
            );
            dispatch.setRules(wrong[i]);
        }
        _schedule(address(settlement), abi.encodeCall(ISettlement.setPeriod, (0)));
        VM.prank(operator);
        VM.expectRevert(ISettlement.ZeroPeriod.selector);
        settlement.setPeriod(0);
    }

    function test_loweringKEndsAnOpenConnectionWithItsNextUnit() public {
        _connect(user, BUY);
        _draw(user, BUY, 5, 1000);
        _schedule(address(dispatch), abi.encodeCall(IStationRegistry.setRules, (Rules(2, RESERVE, IDLE_BLOCKS))));
        VM.prank(operator);
        dispatch.setRules(Rules(2, RESERVE, IDLE_BLOCKS));
        checkEqual(_draw(user, BUY, 5, 6000), 1, "drawn");
        _checkConnected(1, 0, 0);
    }
}
