// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import {ISettlement} from "../../../contracts/interfaces/ISettlement.sol";
import {VM, check, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @notice A station's rights go to those who sold it energy and, when its period is over, to the company.
contract SettlementTest is Grid {
    address internal user = address(0xA);
    uint32 internal station;

    function setUp() public {
        station = _register(100, 50, true, true);
        _line(user, station, 0);
        _welcome(user, 100);
        VM.prank(COMPANY);
        settlement.setFloat(station, 30 * UNIT);
    }

    function _over() internal {
        VM.warp(settlement.accountOf(station).periodStart + settlement.period());
    }

    /* SETTLING */

    function test_anyoneSettlesWhenThePeriodIsOver() public {
        _apply(user, BUY, 7, 0);
        uint256 before = rights.balanceOf(COMPANY);
        _over();
        VM.expectEmit(address(settlement));
        emit ISettlement.Settled(station, 7_000, 30_000);
        VM.prank(STRANGER);
        (uint256 paid, uint256 granted) = settlement.settle(station);

        checkEqual(paid, 7_000, "paid");
        checkEqual(granted, 30_000, "granted");
        checkEqual(rights.balanceOf(COMPANY), before + 7_000 - 30_000, "rights of the company");
        checkEqual(settlement.freeOf(station), 30_000, "rights of the station");
        checkEqual(settlement.accountOf(station).periodStart, block.timestamp, "next period");
    }

    function test_settlingEarlyIsRefused() public {
        uint256 end = block.timestamp + PERIOD;
        VM.warp(end - 1);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.PeriodNotOver.selector, end, end - 1));
        settlement.settle(station);
        VM.warp(end);
        settlement.settle(station);
    }

    function test_settlingTwiceIsRefused() public {
        _over();
        settlement.settle(station);
        VM.expectRevert(
            abi.encodeWithSelector(ISettlement.PeriodNotOver.selector, block.timestamp + PERIOD, block.timestamp)
        );
        settlement.settle(station);
    }

    function test_settlingNobodyIsRefused() public {
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownAccount.selector, 2));
        settlement.settle(2);
    }

    function test_settlingDoesNotStrandASale() public {
        _fund(station, 20);
        _apply(user, SELL, 4, 0);
        _accept(user, 1, 1000);
        _over();
        (uint256 paid,) = settlement.settle(station);
        checkEqual(paid, 16_000, "all but what is due");

        check(_accept(user, 3, 4000), "not accepted");
        checkEqual(rights.balanceOf(user), 104_000, "paid");
        checkEqual(settlement.freeOf(station), 30_000, "the float");
    }

    function test_nextFloatIsThereForTheNextSale() public {
        checkEqual(_connect(user, SELL), 0, "without a right");
        _over();
        settlement.settle(station);
        _report(station, 50_000, true, true);
        checkEqual(_connect(user, SELL), station, "with the float");
    }

    function test_floatIsWhatTheCompanyCanGrant() public {
        VM.prank(COMPANY);
        rights.approve(address(settlement), 5_000);
        _over();
        (, uint256 granted) = settlement.settle(station);
        checkEqual(granted, 5_000, "by its allowance");

        VM.startPrank(COMPANY);
        rights.approve(address(settlement), type(uint256).max);
        rights.transfer(STRANGER, rights.balanceOf(COMPANY));
        VM.stopPrank();
        _over();
        uint256 paid;
        (paid, granted) = settlement.settle(station);
        checkEqual(paid, 5_000, "paid");
        checkEqual(granted, 5_000, "by what it was paid just now");
    }

    function test_nothingToPayAndNothingToGrantSettlesToo() public {
        VM.prank(COMPANY);
        settlement.setFloat(station, 0);
        _over();
        (uint256 paid, uint256 granted) = settlement.settle(station);
        checkEqual(paid + granted, 0, "moved");
    }

    /* ACCOUNTS */

    function test_anyoneMayFundAStation() public {
        VM.expectEmit(address(settlement));
        emit ISettlement.Funded(station, user, 2_000);
        VM.prank(user);
        settlement.fund(station, 2_000);
        checkEqual(settlement.freeOf(station), 2_000, "free");
        checkEqual(rights.balanceOf(user), 98_000, "rights of the giver");

        VM.prank(user);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownAccount.selector, 2));
        settlement.fund(2, 1);
    }

    function test_rightsSentDirectlyAreNobodys() public {
        VM.prank(user);
        rights.transfer(address(settlement), 2_000);
        _over();
        (uint256 paid,) = settlement.settle(station);
        checkEqual(paid, 0, "paid");
    }

    function test_stationCannotTakeItsRights() public {
        _fund(station, 20);
        bytes[5] memory calls = [
            abi.encodeCall(ISettlement.open, (station)),
            abi.encodeCall(ISettlement.collect, (station, user, 1)),
            abi.encodeCall(ISettlement.setAside, (station, 1)),
            abi.encodeCall(ISettlement.release, (station, 1)),
            abi.encodeCall(ISettlement.pay, (station, _key(station), 1))
        ];
        for (uint256 i; i < calls.length; ++i) {
            VM.prank(_key(station));
            (bool done, bytes memory output) = address(settlement).call(calls[i]);
            check(!done, "a stranger moved rights");
            checkEqual(
                keccak256(output),
                keccak256(abi.encodeWithSelector(ISettlement.NotTheDispatch.selector, _key(station), dispatch)),
                "why"
            );
        }
    }

    function test_onlyTheCompanySetsFloats() public {
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, _key(station)));
        settlement.setFloat(station, 1);
        VM.startPrank(COMPANY);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownAccount.selector, 2));
        settlement.setFloat(2, 1);
        VM.expectEmit(address(settlement));
        emit ISettlement.FloatChanged(station, 30_000, 1);
        settlement.setFloat(station, 1);
        VM.stopPrank();
    }
}
