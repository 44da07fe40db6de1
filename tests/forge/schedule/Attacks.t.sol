// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {End, IDispatch} from "../../../contracts/interfaces/IDispatch.sol";
import {IStationRegistry, Service} from "../../../contracts/interfaces/IStationRegistry.sol";
import {Station, StationLib} from "../../../contracts/schedule/Station.sol";
import {VM, check, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @dev A user that is a contract and does several things in one transaction.
contract Hurried {
    IDispatch internal immutable DISPATCH;

    constructor(IDispatch dispatch) {
        DISPATCH = dispatch;
    }

    /// @notice Connects and closes, again and again.
    function comeAndGo(Service service, uint256 times) external {
        for (uint256 i; i < times; ++i) {
            DISPATCH.connect(service, 0);
            DISPATCH.close(service, service == Service.Supply ? 1000 : 0);
        }
    }
}

/// @notice Parties that want to harm one another: what they can do ends where the interfaces say that it does.
contract AttacksTest is Grid {
    address internal mallory = address(0x3A);
    address internal user = address(0xA);
    uint32 internal station;
    uint32 internal other;

    function setUp() public {
        station = _register(100, 50, true, true);
        other = _register(100, 50, true, true);
        _fund(station, 20);
        _fund(other, 20);
        address[2] memory all = [mallory, user];
        for (uint256 i; i < 2; ++i) {
            _welcome(all[i], 100);
            _line(all[i], station, 100);
            _line(all[i], other, 200);
        }
    }

    function _checkNothingHeldBack(uint32 id) internal view {
        checkEqual(_state(id).coming, 0, "coming");
        checkEqual(settlement.accountOf(id).due, 0, "due");
        checkEqual(settlement.freeOf(id), 20_000, "free");
    }

    /* SELLERS WHO SEND NOTHING, STATIONS THAT ACCEPT NOTHING */

    function test_sellerWhoSendsNothingHoldsOneConnectionsUnits() public {
        (, uint256 drawn) = _apply(mallory, SELL, 1_000, 0);
        checkEqual(drawn, K, "agreed");
        bytes[2] memory more =
            [abi.encodeCall(IDispatch.connect, (SELL, 0)), abi.encodeCall(IDispatch.applyFor, (SELL, 1, 0))];
        for (uint256 i; i < 2; ++i) {
            VM.prank(mallory);
            (bool done, bytes memory output) = address(dispatch).call(more[i]);
            check(!done && bytes4(output) == IDispatch.UnitsDue.selector, "agreed on more");
        }

        VM.roll(block.number + IDLE_BLOCKS);
        VM.prank(STRANGER);
        dispatch.closeIdle(mallory, SELL);
        _checkNothingHeldBack(station);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotConnected.selector, mallory, SELL));
        dispatch.closeIdle(mallory, SELL);
    }

    function test_sellerWhoPromisesAllAStationCanPayStopsItUntilItReports() public {
        _connect(user, SELL);
        _accept(user, 1, 1000);
        // Two others take up the 19 units that the station can pay for, and send nothing.
        address accomplice = address(0x3B);
        _line(accomplice, station, 0);
        _apply(mallory, SELL, K, 0);
        _apply(accomplice, SELL, K, 0);
        check(!dispatch.isConnected(user, SELL), "connected to a station that can pay no more");
        checkEqual(_connect(user, SELL, 1010), other, "served by the next");

        _close(mallory, SELL, 0);
        _close(accomplice, SELL, 0);
        checkEqual(settlement.freeOf(station), 19_000, "free");
        _report(station, 51_000, true, true);
        (uint32 next,) = dispatch.assigned(user, SELL);
        checkEqual(next, station, "who buys next");
    }

    function test_stationThatAcceptsNothingCostsItsSellerAClose() public {
        _apply(user, SELL, 5, 0);
        _close(user, SELL, 0);
        _checkNothingHeldBack(station);
        // What it took in without paying is on record: the line is suspended.
        _connect(user, SELL);
        _close(user, SELL, 1010);
        checkEqual(_connect(user, SELL), other, "served by another");
    }

    function test_stationCannotPayItsAccompliceMoreThanItHolds() public {
        // Nothing flows: station and seller only say so.
        uint64 accepted;
        uint256 drawn;
        for (uint256 i; i < 3; ++i) {
            (, drawn) = _apply(mallory, SELL, K, accepted * 10_000 / 9_900);
            if (_connection(mallory, SELL).station != station) break;
            _accept(mallory, drawn, uint64(drawn * UNIT));
            accepted = uint64(drawn * UNIT);
        }
        checkEqual(rights.balanceOf(mallory), 120_000, "rights of the accomplice");
        checkEqual(settlement.freeOf(station), 0, "rights of the station");
        checkEqual(settlement.accountOf(other).held, 20_000, "rights of another station");
        // The list shows the energy that does not exist, until the station itself reports that it is missing.
        _checkStation(station, 70_000, true, false);
    }

    /* IN ONE TRANSACTION */

    function test_comingAndGoingInOneTransactionLeavesTheStationAsItWas() public {
        Hurried hurried = new Hurried(dispatch);
        _line(address(hurried), station, 0);
        _welcome(address(hurried), 20);
        hurried.comeAndGo(SELL, 5);
        _checkConnected(station, 0, 0);
        _checkNothingHeldBack(station);
        _checkStation(station, 50_000, true, true);

        hurried.comeAndGo(BUY, 5);
        _checkConnected(station, 0, 0);
        _checkStation(station, 45_000, true, true);
        checkEqual(settlement.freeOf(station), 25_000, "five paid for");
    }

    /* STRANGERS */

    function test_strangersEndNothing() public {
        _connect(user, BUY);
        _connect(user, SELL);
        bytes[5] memory calls = [
            abi.encodeCall(IDispatch.close, (BUY, 1000)),
            abi.encodeCall(IDispatch.close, (SELL, 0)),
            abi.encodeCall(IDispatch.draw, (BUY, 1, 990)),
            abi.encodeCall(IDispatch.closeIdle, (user, BUY)),
            abi.encodeCall(IDispatch.closeIdle, (user, SELL))
        ];
        for (uint256 i; i < calls.length; ++i) {
            VM.prank(STRANGER);
            (bool done,) = address(dispatch).call(calls[i]);
            check(!done, "a stranger ended a connection");
        }
        _checkConnected(station, 1, 1);
    }

    function test_nobodyIsTheStationThatDoesNotExist() public {
        VM.prank(address(0));
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotDue.selector, STRANGER, 1, 0));
        dispatch.accept(STRANGER, 1, 1000);
    }

    /* KEYS AND LINES THAT CHANGE */

    function test_theNewKeyAcceptsWhatWasAgreedUnderTheOld() public {
        _apply(user, SELL, 2, 0);
        VM.prank(COMPANY);
        dispatch.setStationKey(station, STRANGER);

        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.NotTheStation.selector, _key(station), STRANGER));
        dispatch.accept(user, 2, 2000);
        VM.prank(STRANGER);
        check(dispatch.accept(user, 2, 2000), "not accepted");
        checkEqual(rights.balanceOf(user), 102_000, "paid");
    }

    function test_aDisputeOverALineLeavesTheOtherConnectionOnIt() public {
        _connect(user, SELL);
        _connect(user, BUY);
        _close(user, BUY, 0);
        check(lines.linesOf(user)[0].suspended, "not suspended");

        check(_accept(user, 1, 1000), "not accepted");
        checkEqual(_draw(user, SELL, 1, 1010), 1, "drawn on what is connected");
        _accept(user, 1, 2000);
        _close(user, SELL, 2020);
        checkEqual(_connect(user, SELL), other, "while suspended");
    }

    /* A REPORT WHILE UNITS ARE COMING */

    function test_unitsThatComeDoNotOvertakeAReportAndThoseThatCameDo() public {
        _apply(user, SELL, 4, 0);
        VM.prank(_key(station));
        dispatch.report(station, _reportOf(0, 90_000, true, true));
        _accept(user, 1, 1000);
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.ReportOvertaken.selector, 0, 1));
        dispatch.report(station, _reportOf(0, 90_000, true, true));
        // 91 stored, 3 coming: the room of the three is promised, whatever else a report says.
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.StoredExceedsCapacity.selector, 97_001, 97_000));
        dispatch.report(station, _reportOf(1, 97_001, false, false));
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.FlagContradicted.selector, SELL, 0, 0));
        dispatch.report(station, _reportOf(1, 97_000, true, true));
    }

    /* SETTLING AT THE WORST TIME */

    function test_settlingWithoutAnAllowanceStillPaysWhatIsDue() public {
        VM.startPrank(COMPANY);
        settlement.setFloat(station, 30_000);
        rights.approve(address(settlement), 0);
        VM.stopPrank();
        _apply(user, SELL, 3, 0);
        VM.warp(block.timestamp + PERIOD);
        VM.prank(mallory);
        (uint256 paid, uint256 granted) = settlement.settle(station);
        checkEqual(paid, 17_000, "paid");
        checkEqual(granted, 0, "granted");

        check(_accept(user, 3, 3000), "not accepted");
        checkEqual(rights.balanceOf(user), 103_000, "paid for the sale");
        checkEqual(_connect(user, SELL, 3030), other, "the next sale");
        // The float is made up for by whoever funds the station.
        VM.prank(COMPANY);
        rights.approve(address(settlement), type(uint256).max);
        _fund(station, 30);
        checkEqual(settlement.freeOf(station), 30_000, "free");
    }

    function test_aSaleOutlastsAnyNumberOfSettlements() public {
        _apply(user, SELL, 3, 0);
        for (uint256 i; i < 3; ++i) {
            VM.warp(block.timestamp + PERIOD);
            settlement.settle(station);
            checkEqual(settlement.accountOf(station).due, 3_000, "due");
            checkEqual(settlement.freeOf(station), 0, "no float");
        }
        check(_accept(user, 1, 1000), "not accepted");
        checkEqual(rights.balanceOf(user), 101_000, "paid");

        // What is released after a settlement is the company's with the next.
        _close(user, SELL, 1010);
        VM.warp(block.timestamp + PERIOD);
        (uint256 paid,) = settlement.settle(station);
        checkEqual(paid, 2_000, "paid to the company");
        checkEqual(settlement.accountOf(station).held, 0, "held");
    }

    function test_connectedSellerOfAStationSettledToNothingMovesOn() public {
        _connect(user, SELL);
        _accept(user, 1, 1000);
        VM.warp(block.timestamp + PERIOD);
        settlement.settle(station);

        VM.expectEmit(address(dispatch));
        emit IDispatch.Disconnected(user, station, SELL, End.Station);
        checkEqual(_draw(user, SELL, 1, 1010), 0, "drawn");
        checkEqual(_connect(user, SELL), other, "served by another");
    }

    function test_aChangeOfFloatHoldsFromTheNextSettlement() public {
        uint256[3] memory floats = [uint256(5_000), type(uint256).max, 0];
        uint256 held = 20_000;
        for (uint256 i; i < 3; ++i) {
            VM.prank(COMPANY);
            settlement.setFloat(station, floats[i]);
            checkEqual(settlement.freeOf(station), held, "before it is settled");
            uint256 most = rights.balanceOf(COMPANY) + held;
            held = floats[i] < most ? floats[i] : most;
            VM.warp(block.timestamp + PERIOD);
            (, uint256 granted) = settlement.settle(station);
            checkEqual(granted, held, "granted");
        }
    }

    /* LARGEST NUMBERS */

    function test_theLargestStationServes() public {
        uint256 most = type(uint40).max;
        VM.prank(COMPANY);
        uint32 large =
            dispatch.register(IStationRegistry.StationTerms(_key(3), uint40(most), uint40(most), 0, 0, true, true));
        _fund(large, 20);
        _line(user, large, 0);
        checkEqual(_connect(user, BUY), large, "supply");
        checkEqual(_connect(user, SELL), station, "no room");
        _report(large, 0, false, true);
        _close(user, SELL, 0);
        checkEqual(_connect(user, SELL), large, "acquisition");
        check(_accept(user, 1, 1000), "not accepted");
        _report(large, most, true, false);
        checkEqual(_state(large).stored, most, "stored");
    }

    function test_unitsBeyondAnyNumberAreTheLimits() public {
        (, uint256 drawn) = _apply(user, BUY, type(uint256).max, 0);
        checkEqual(drawn, K, "bought");
        (, drawn) = _apply(user, SELL, type(uint256).max, 0);
        checkEqual(drawn, K, "sold");
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotDue.selector, user, type(uint256).max, K));
        dispatch.accept(user, type(uint256).max, type(uint64).max);
    }

    /// @dev A connection of an epoch that came again would count as open. Its station stops instead; 16 million
    /// epochs cost it as many units and reports.
    function test_epochsNeverComeAgain() public {
        VM.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        this.endEpoch(type(uint24).max);
        checkEqual(this.endEpoch(type(uint24).max - 1), type(uint24).max, "the last");
    }

    function endEpoch(uint24 epoch) external pure returns (uint256) {
        Station memory s;
        s.epochSupply = epoch;
        StationLib.disconnectAll(s, Service.Supply);
        return s.epochSupply;
    }
}
