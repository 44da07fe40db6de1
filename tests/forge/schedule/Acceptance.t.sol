// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDispatch} from "../../../contracts/interfaces/IDispatch.sol";
import {IStationRegistry} from "../../../contracts/interfaces/IStationRegistry.sol";
import {VM, check, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @notice What a user sells is agreed on, sent, accepted and paid; or it is released, and nobody is out of pocket.
contract AcceptanceTest is Grid {
    address internal seller = address(0xA);
    address internal second = address(0xB);
    uint32 internal station;

    function setUp() public {
        station = _register(30, 10, true, true);
        _fund(station, 20);
        _line(seller, station, 0);
        _line(second, station, 0);
        _welcome(seller, 0);
        _welcome(second, 0);
    }

    function _due() internal view returns (uint256) {
        return settlement.accountOf(station).due;
    }

    function test_agreementSetsRoomAndRightsAside() public {
        VM.expectEmit(address(dispatch));
        emit IDispatch.UnitsAgreed(station, seller, 1);
        _connect(seller, SELL);
        _checkStation(station, 10_000, true, true);
        checkEqual(_state(station).coming, 1000, "coming");
        checkEqual(_due(), 1000, "due");
        checkEqual(settlement.freeOf(station), 19_000, "free");
        checkEqual(rights.balanceOf(seller), 0, "paid before anything came");
        checkEqual(_state(station).transfers, 0, "transfers");
    }

    function test_energyOnItsWayIsNotSuppliedToOthers() public {
        _report(station, 5_000, true, true);
        _apply(seller, SELL, 10, 0);
        _welcome(second, 10);
        (, uint256 drawn) = _apply(second, BUY, 10, 0);
        checkEqual(drawn, 3, "of the five units that are there, two stay in reserve");
        _checkStation(station, 2_000, false, true);
        _accept(seller, 10, 10_000);
        _checkStation(station, 12_000, false, true);
    }

    function test_roomForWhatComesStaysFree() public {
        _apply(seller, SELL, 5, 0);
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.StoredExceedsCapacity.selector, 25_001, 25_000));
        dispatch.report(station, _reportOf(0, 25_001, true, false));
        _report(station, 25_000, true, false);
        check(_accept(seller, 5, 5000), "not accepted");
        _checkStation(station, 30_000, true, false);
    }

    function test_acceptancePaysUnitByUnit() public {
        _apply(seller, SELL, 3, 0);
        for (uint64 i = 1; i <= 3; ++i) {
            VM.expectEmit(address(dispatch));
            emit IDispatch.Metered(station, seller, SELL, true, i, i * 1000);
            VM.expectEmit(address(dispatch));
            emit IDispatch.UnitTransferred(station, seller, SELL);
            check(_accept(seller, 1, i * 1000), "not accepted");
            checkEqual(rights.balanceOf(seller), i * 1000, "paid");
            checkEqual(_due(), 3000 - i * 1000, "due");
        }
        checkEqual(settlement.accountOf(station).held, 17_000, "held");
        _checkStation(station, 13_000, true, true);
    }

    function test_acceptingTwiceIsRefused() public {
        _connect(seller, SELL);
        _accept(seller, 1, 1000);
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotDue.selector, seller, 1, 0));
        dispatch.accept(seller, 1, 2000);
    }

    function test_acceptingMoreThanAgreedOrNothingIsRefused() public {
        _connect(seller, SELL);
        VM.startPrank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotDue.selector, seller, 2, 1));
        dispatch.accept(seller, 2, 2000);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotDue.selector, seller, 0, 1));
        dispatch.accept(seller, 0, 0);
        VM.stopPrank();
    }

    function test_onlyTheStationAccepts() public {
        _connect(seller, SELL);
        uint32 another = _register(30, 10, true, true);
        address[3] memory others = [seller, COMPANY, _key(another)];
        for (uint256 i; i < 3; ++i) {
            VM.prank(others[i]);
            VM.expectRevert(abi.encodeWithSelector(IStationRegistry.NotTheStation.selector, others[i], _key(station)));
            dispatch.accept(seller, 1, 1000);
        }
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.NotTheStation.selector, _key(station), address(0)));
        dispatch.accept(STRANGER, 1, 1000);
    }

    function test_moreIsDrawnWhenAllIsAccepted() public {
        _connect(seller, SELL);
        VM.prank(seller);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.UnitsDue.selector, seller, station, 1));
        dispatch.draw(SELL, 1, 0);
        _accept(seller, 1, 1000);
        checkEqual(_draw(seller, SELL, 1, 1000), 1, "drawn");
    }

    function test_applyingAgainWaitsForAcceptance() public {
        _apply(seller, SELL, 2, 0);
        _accept(seller, 1, 1000);
        VM.prank(seller);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.UnitsDue.selector, seller, station, 1));
        dispatch.applyFor(SELL, 1, 1000);
        _accept(seller, 1, 2000);
        _apply(seller, SELL, 1, 2000);
    }

    function test_unitsOfAnEndedConnectionAreStillAccepted() public {
        _apply(seller, SELL, 10, 0);
        check(!dispatch.isConnected(seller, SELL), "connected");
        check(_accept(seller, 10, 10_000), "not accepted");
        checkEqual(rights.balanceOf(seller), 10_000, "paid");
    }

    function test_unitsOfAnEndedEpochAreStillAccepted() public {
        _connect(second, SELL);
        _apply(seller, SELL, 10, 0);
        _accept(seller, 10, 10_000);
        _apply(seller, SELL, 10, 10_000);
        check(!dispatch.isConnected(second, SELL), "the station is not full");
        checkEqual(_state(station).epochAcquire, 1, "epoch");
        check(_accept(second, 1, 1000), "not accepted");
        checkEqual(rights.balanceOf(second), 1000, "paid");
    }

    function test_closingReleasesWhatDidNotCome() public {
        _connect(seller, SELL);
        _accept(seller, 1, 1000);
        _draw(seller, SELL, 3, 1000);
        _accept(seller, 1, 2000);
        VM.expectEmit(address(dispatch));
        emit IDispatch.UnitsReleased(station, seller, 2);
        _close(seller, SELL, 2000);

        checkEqual(_due(), 0, "due");
        checkEqual(settlement.freeOf(station), 18_000, "free");
        _checkStation(station, 12_000, true, true);
        _checkConnected(station, 0, 0);
        checkEqual(_state(station).coming, 0, "coming");
        checkEqual(_state(station).transfers, 2, "transfers");
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotDue.selector, seller, 1, 0));
        dispatch.accept(seller, 1, 3000);
    }

    function test_idleSellerIsClosedAndReleased() public {
        _apply(seller, SELL, 3, 0);
        _connect(second, SELL);
        VM.roll(block.number + IDLE_BLOCKS);
        dispatch.closeIdle(seller, SELL);
        dispatch.closeIdle(second, SELL);
        checkEqual(_due(), 0, "due");
        _checkStation(station, 10_000, true, true);
        _checkConnected(station, 0, 0);
    }

    function test_acceptanceEndsIdleness() public {
        _apply(seller, SELL, 2, 0);
        VM.roll(block.number + IDLE_BLOCKS);
        _accept(seller, 1, 1000);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotIdle.selector, 0, IDLE_BLOCKS));
        dispatch.closeIdle(seller, SELL);
    }

    function test_reportBetweenAgreementAndAcceptanceIsOfWhatIsThere() public {
        _apply(seller, SELL, 5, 0);
        _report(station, 2_000, false, true);
        _accept(seller, 3, 3000);
        _close(seller, SELL, 3000);
        _checkStation(station, 5_000, false, true);
    }

    function test_aReportOvertakenByAnAcceptanceIsRefused() public {
        _apply(seller, SELL, 1, 0);
        _accept(seller, 1, 1000);
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.ReportOvertaken.selector, 0, 1));
        dispatch.report(station, _reportOf(0, 10_000, true, true));
    }

    function test_rightsSetAsideForOneAreNotPromisedToAnother() public {
        uint32 poor = _register(100, 0, false, true);
        _fund(poor, 3);
        _line(seller, poor, 0);
        _line(second, poor, 0);
        VM.startPrank(COMPANY);
        lines.removeLine(seller, station);
        lines.removeLine(second, station);
        VM.stopPrank();

        (, uint256 drawn) = _apply(seller, SELL, 2, 0);
        checkEqual(drawn, 2, "first");
        (, drawn) = _apply(second, SELL, 2, 0);
        checkEqual(drawn, 1, "second");
        checkEqual(_connect(STRANGER, SELL), 0, "third");
        check(_accept(seller, 2, 2000) && _accept(second, 1, 1000), "not accepted");
        checkEqual(rights.balanceOf(seller) + rights.balanceOf(second), 3000, "paid");
    }
}
