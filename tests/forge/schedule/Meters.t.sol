// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {End, IDispatch} from "../../../contracts/interfaces/IDispatch.sol";
import {ILineRegistry} from "../../../contracts/interfaces/ILineRegistry.sol";
import {VM, check, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @notice What meters say acknowledges units or disputes them, and never stops a record from being made.
contract MetersTest is Grid {
    address internal user = address(0xA);

    /// @dev The best station, over a line that loses 12.34 %, and another over one that loses half.
    uint32 internal station;
    uint32 internal other;

    function setUp() public {
        _welcome(user, 100);
        station = _register(100, 50, true, true);
        other = _register(100, 50, true, true);
        _fund(station, 100);
        _fund(other, 100);
        _line(user, station, 1234);
        _line(user, other, 5000);
    }

    function _expectMetered(uint32 metered, bool selling, bool byStation, uint256 units, uint256 reading) internal {
        VM.expectEmit(address(dispatch));
        emit IDispatch.Metered(metered, user, selling ? SELL : BUY, byStation, units, reading);
    }

    function _expectDispute(bool selling, bool byStation, uint256 units, uint256 reading, uint256 expected) internal {
        VM.expectEmit(address(dispatch));
        emit IDispatch.MeterDisputed(station, user, selling ? SELL : BUY, byStation, units, reading, expected);
        VM.expectEmit(address(lines));
        emit ILineRegistry.LineSuspended(user, station);
    }

    /// @dev Draws one unit, which takes with it the acknowledgement of two.
    function _drawReading(uint64 reading) internal returns (uint256 drawn) {
        _connect(user, BUY);
        _draw(user, BUY, 1, 877);
        return _draw(user, BUY, 1, reading);
    }

    /* SUPPLY: 2 units at 12.34 % are 1,753.2 Wh */

    function test_aDrawAcknowledgesTheUnitsBeforeIt() public {
        _connect(user, BUY);
        _expectMetered(station, false, false, 1, 876);
        checkEqual(_draw(user, BUY, 1, 876), 1, "drawn");
        _expectMetered(station, false, false, 2, 1753);
        checkEqual(_draw(user, BUY, 1, 1753), 1, "drawn");
        checkEqual(_connection(user, BUY).acknowledged, 2, "acknowledged");
    }

    function test_closingAcknowledgesTheLastUnit() public {
        _connect(user, BUY);
        _expectMetered(station, false, false, 1, 877);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Disconnected(user, station, BUY, End.Closed);
        _close(user, BUY, 877);
        checkEqual(_connection(user, BUY).acknowledged, 1, "acknowledged");
    }

    function test_applyingAgainAcknowledgesTheConnectionBefore() public {
        _apply(user, BUY, 10, 0);
        _expectMetered(station, false, false, 10, 8766);
        _apply(user, BUY, 1, 8766);
    }

    function test_roundingOfAWattHourAUnitIsNoDispute() public {
        uint256 before = VM.snapshotState();
        for (uint64 reading = 1752; reading <= 1755; ++reading) {
            checkEqual(_drawReading(reading), 1, "drawn");
            VM.revertToState(before);
        }
        checkEqual(_drawReading(1751), 0, "drawn at two watt-hours less");
        VM.revertToState(before);
        checkEqual(_drawReading(1756), 0, "drawn at two watt-hours more");
    }

    function test_meterThatReadsTooLittleDisputes() public {
        _connect(user, BUY);
        _draw(user, BUY, 1, 877);
        _expectDispute(false, false, 2, 1700, 1753);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Disconnected(user, station, BUY, End.Disputed);
        checkEqual(_draw(user, BUY, 1, 1700), 0, "drawn");

        checkEqual(rights.balanceOf(user), 98_000, "no unit is paid after the dispute");
        _checkConnected(station, 0, 0);
        check(lines.linesOf(user)[0].suspended, "line is not suspended");
        check(!lines.linesOf(user)[1].suspended, "another line is suspended");
    }

    function test_meterThatReadsTooMuchDisputes() public {
        _connect(user, BUY);
        _draw(user, BUY, 1, 877);
        _expectDispute(false, false, 2, type(uint64).max, 1753);
        checkEqual(_draw(user, BUY, 1, type(uint64).max), 0, "drawn");
    }

    function test_meterThatReadsTheSameTwiceDisputes() public {
        _connect(user, BUY);
        _draw(user, BUY, 1, 876);
        _expectDispute(false, false, 2, 876, 1753);
        checkEqual(_draw(user, BUY, 1, 876), 0, "drawn");
    }

    function test_meterThatRunsBackwardsDisputes() public {
        _connect(user, BUY);
        _draw(user, BUY, 1, 876);
        _expectDispute(false, false, 2, 400, 1753);
        checkEqual(_draw(user, BUY, 1, 400), 0, "drawn");
    }

    function test_stationWhoseLevelIsALieCostsOneUnit() public {
        // It supplies nothing of what it says it stores.
        _connect(user, BUY);
        _draw(user, BUY, 1, 0);
        checkEqual(rights.balanceOf(user), 99_000, "rights");
        check(!dispatch.isConnected(user, BUY), "connected");
        checkEqual(_connect(user, BUY), other, "the next station");
    }

    function test_disputeAtAnApplicationLeadsToTheNextStation() public {
        _apply(user, BUY, 3, 0);
        _expectDispute(false, false, 3, 0, 2629);
        (uint32 assigned,) = _apply(user, BUY, 1, 0);
        checkEqual(assigned, other, "station");
        _expectMetered(other, false, false, 1, 500);
        _close(user, BUY, 500);
    }

    function test_disputeAtTheCloseIsOnRecord() public {
        _connect(user, BUY);
        _expectDispute(false, false, 1, 0, 876);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Disconnected(user, station, BUY, End.Disputed);
        _close(user, BUY, 0);
        _checkConnected(station, 0, 0);
    }

    function test_disputedUnitsAreNotDisputedAgain() public {
        _connect(user, BUY);
        _close(user, BUY, 0);
        VM.prank(COMPANY);
        lines.restoreLine(user, station);
        checkEqual(_connect(user, BUY), station, "station");
        check(!lines.linesOf(user)[0].suspended, "suspended");
    }

    function test_suspendedLineReturnsWhenTheCompanyResolves() public {
        _connect(user, BUY);
        _close(user, BUY, 0);
        checkEqual(_connect(user, BUY), other, "while suspended");
        _close(user, BUY, 500);
        VM.prank(COMPANY);
        lines.restoreLine(user, station);
        checkEqual(_connect(user, BUY), station, "when resolved");
    }

    function test_lineTakenAwayMeanwhileStillDisputes() public {
        _connect(user, BUY);
        VM.prank(COMPANY);
        lines.removeLine(user, station);
        VM.expectEmit(address(dispatch));
        emit IDispatch.MeterDisputed(station, user, BUY, false, 1, 0, 876);
        checkEqual(_draw(user, BUY, 1, 0), 0, "drawn");
    }

    function test_aChangeOfLossHoldsFromTheNextConnection() public {
        _connect(user, BUY);
        _line(user, station, 0);
        checkEqual(_draw(user, BUY, 1, 876), 1, "drawn at the loss of the connection");
        _close(user, BUY, 1753);
        _connect(user, BUY);
        checkEqual(_draw(user, BUY, 1, 1000), 1, "drawn at the new loss");
    }

    function test_lineThatLosesEverythingDeliversNothing() public {
        _line(user, station, 10_000);
        _line(user, other, 10_000);
        _connect(user, BUY);
        checkEqual(_draw(user, BUY, 1, 0), 1, "drawn");
        _expectDispute(false, false, 2, 3, 0);
        _close(user, BUY, 3);
    }

    /* ACQUISITION: 2 units at 12.34 % are 2,281.5 Wh sent */

    function test_sellersMeterReadsWhatItSent() public {
        _connect(user, SELL);
        _accept(user, 1, 1000);
        _expectMetered(station, true, false, 1, 1141);
        _draw(user, SELL, 1, 1141);
        _accept(user, 1, 2000);
        _expectMetered(station, true, false, 2, 2281);
        _close(user, SELL, 2281);
    }

    function test_sellerWhoClaimsMoreThanArrivedIsDisputed() public {
        _connect(user, SELL);
        _accept(user, 1, 1000);
        _expectDispute(true, false, 1, 2281, 1140);
        checkEqual(_draw(user, SELL, 1, 2281), 0, "drawn");
        _checkConnected(station, 0, 0);
        checkEqual(rights.balanceOf(user), 101_000, "rights");
    }

    function test_sellerOverALineThatLosesEverythingIsDisputed() public {
        _line(user, station, 10_000);
        _line(user, other, 10_000);
        _connect(user, SELL);
        _accept(user, 1, 1000);
        _expectDispute(true, false, 1, 5, type(uint256).max);
        _close(user, SELL, 5);
    }

    function test_stationsMeterAccepts() public {
        _connect(user, SELL);
        _expectMetered(station, true, true, 1, 999);
        check(_accept(user, 1, 999), "not accepted");
        checkEqual(rights.balanceOf(user), 101_000, "paid");
    }

    function test_stationsMeterDisputes() public {
        _apply(user, SELL, 4, 0);
        _accept(user, 2, 2000);
        _expectDispute(true, true, 3, 2300, 3000);
        VM.expectEmit(address(dispatch));
        emit IDispatch.UnitsReleased(station, user, 2);
        check(!_accept(user, 1, 2300), "accepted");

        // Room and rights of what did not come are free again.
        _checkStation(station, 52_000, true, true);
        checkEqual(settlement.freeOf(station), 98_000, "free rights");
        checkEqual(rights.balanceOf(user), 102_000, "rights");
        checkEqual(_connect(user, SELL, 2281), other, "the next station");
    }

    function test_stationsDisputeEndsTheConnection() public {
        _connect(user, SELL);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Disconnected(user, station, SELL, End.Disputed);
        _accept(user, 1, 0);
        check(!dispatch.isConnected(user, SELL), "connected");
        _checkConnected(station, 0, 0);
    }

    /* ANY LOSS */

    /// @dev A meter that rounds each unit and one that rounds their sum both agree, whatever the loss.
    function testFuzz_honestMetersAgree(uint16 loss, uint8 units, bool eachRounded, bool selling) public {
        loss %= 10_000;
        uint256 count = uint256(units) % K + 1;
        _line(user, station, loss);
        _line(user, other, 10_000);
        (, uint256 drawn) = _apply(user, selling ? SELL : BUY, count, 0);
        if (selling) check(_accept(user, drawn, uint64(drawn * UNIT)), "not accepted");

        uint256 arriving = 10_000 - uint256(loss);
        uint256 sum = eachRounded ? 1 : drawn;
        uint256 reading = selling ? sum * UNIT * 10_000 / arriving : sum * UNIT * arriving / 10_000;
        if (eachRounded) reading *= drawn;
        _expectMetered(station, selling, false, drawn, reading);
        _close(user, selling ? SELL : BUY, uint64(reading));
    }
}
