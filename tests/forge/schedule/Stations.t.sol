// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import {IStationRegistry, Said, Service} from "../../../contracts/interfaces/IStationRegistry.sol";
import {VM, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @notice Stations report for themselves alone, and are not believed what cannot be.
contract StationsTest is Grid {
    address internal user = address(0xA);
    uint32 internal station;

    function setUp() public {
        station = _registerServing(40, 20, true, true, 3, 2);
        _line(user, station, 1000);
        _welcome(user, 100);
        _fund(station, 100);
    }

    function _expectReport(IStationRegistry.Report memory said, bytes memory reason) internal {
        VM.prank(_key(station));
        VM.expectRevert(reason);
        dispatch.report(station, said);
    }

    function _say(IStationRegistry.Report memory said) internal {
        VM.prank(_key(station));
        dispatch.report(station, said);
    }

    /* REGISTRATION */

    function test_stationsAreNumberedByRegistration() public {
        checkEqual(station, 1, "first id");
        checkEqual(_register(1, 0, false, false), 2, "second id");
        checkEqual(dispatch.stationCount(), 2, "stations");
        checkEqual(_state(station).key, _key(station), "key");
        checkEqual(_state(station).capacity, 40_000, "capacity");
        checkEqual(settlement.accountOf(station).periodStart, block.timestamp, "its first period");
        _checkStation(station, 20_000, true, true);
        _checkConnected(station, 3, 2);
    }

    function test_onlyTheCompanyRegisters() public {
        IStationRegistry.StationTerms memory terms = IStationRegistry.StationTerms(STRANGER, 1, 1, 0, 0, true, true);
        VM.prank(STRANGER);
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER));
        dispatch.register(terms);
    }

    function test_registrationRejectsWhatCannotBe() public {
        VM.startPrank(COMPANY);
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.StoredExceedsCapacity.selector, 11, 10));
        dispatch.register(IStationRegistry.StationTerms(STRANGER, 10, 11, 0, 0, true, true));
        VM.expectRevert(IStationRegistry.ZeroKey.selector);
        dispatch.register(IStationRegistry.StationTerms(address(0), 10, 10, 0, 0, true, true));
        VM.stopPrank();
    }

    function test_anotherKeyActsForAStation() public {
        VM.expectEmit(address(dispatch));
        emit IStationRegistry.StationKeyChanged(station, _key(station), STRANGER);
        VM.prank(COMPANY);
        dispatch.setStationKey(station, STRANGER);

        _expectReport(
            _reportOf(0, 0, false, false),
            abi.encodeWithSelector(IStationRegistry.NotTheStation.selector, _key(station), STRANGER)
        );
        VM.prank(STRANGER);
        dispatch.report(station, _reportOf(0, 0, false, false));
        _checkStation(station, 0, false, false);
    }

    function test_onlyTheCompanyChangesAKey() public {
        VM.prank(_key(station));
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, _key(station)));
        dispatch.setStationKey(station, STRANGER);
        VM.startPrank(COMPANY);
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.UnknownStation.selector, 2));
        dispatch.setStationKey(2, STRANGER);
        VM.expectRevert(IStationRegistry.ZeroKey.selector);
        dispatch.setStationKey(station, address(0));
        VM.stopPrank();
    }

    /* REPORTS */

    function test_aReportReplacesWhatTheListSays() public {
        VM.expectEmit(address(dispatch));
        emit IStationRegistry.Reported(station, 30_000, true, false, 0);
        _report(station, 30_000, true, false);
        _checkStation(station, 30_000, true, false);
        _checkConnected(station, 3, 2);
    }

    function test_aReportChangesOnlyWhatItSpeaksOf() public {
        _say(IStationRegistry.Report(0, true, 30_000, Said.Nothing, Said.Nothing));
        _checkStation(station, 30_000, true, true);
        _say(IStationRegistry.Report(0, false, 7, Said.No, Said.Nothing));
        _checkStation(station, 30_000, false, true);
        VM.expectEmit(address(dispatch));
        emit IStationRegistry.Reported(station, 30_000, false, false, 0);
        _say(IStationRegistry.Report(0, false, 0, Said.Nothing, Said.No));
        _checkStation(station, 30_000, false, false);
        _say(IStationRegistry.Report(0, false, 0, Said.Yes, Said.Yes));
        _checkStation(station, 30_000, true, true);
        _say(IStationRegistry.Report(0, false, type(uint40).max, Said.Nothing, Said.Nothing));
        _checkStation(station, 30_000, true, true);
    }

    function test_aFlagIsHeldToTheNumbersThatItsReportLeavesAlone() public {
        _report(station, 6_000, false, true);
        _expectReport(
            IStationRegistry.Report(0, false, 30_000, Said.Yes, Said.Nothing),
            abi.encodeWithSelector(IStationRegistry.FlagContradicted.selector, Service.Supply, 6_000, 6_000)
        );
        _say(IStationRegistry.Report(0, true, 6_001, Said.Yes, Said.Nothing));
        _checkStation(station, 6_001, true, true);
    }

    function test_aFlagThatAReportLeavesAloneIsCheckedAtTheApplication() public {
        _say(IStationRegistry.Report(0, true, 0, Said.Nothing, Said.Nothing));
        _checkStation(station, 0, true, true);
        checkEqual(_connect(user, BUY), 0, "nobody");
        _checkStation(station, 0, false, true);
    }

    function test_partialReportsThatAreOvertakenOrImpossibleAreRefused() public {
        _apply(user, BUY, 1, 0);
        _expectReport(
            IStationRegistry.Report(0, false, 0, Said.Nothing, Said.No),
            abi.encodeWithSelector(IStationRegistry.ReportOvertaken.selector, 0, 1)
        );
        _expectReport(
            IStationRegistry.Report(1, true, 40_001, Said.Nothing, Said.Nothing),
            abi.encodeWithSelector(IStationRegistry.StoredExceedsCapacity.selector, 40_001, 40_000)
        );
        _checkStation(station, 19_000, true, true);
    }

    function test_reportBySomebodyElseIsRefused() public {
        VM.prank(STRANGER);
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.NotTheStation.selector, STRANGER, _key(station)));
        dispatch.report(station, _reportOf(0, 0, false, false));
        VM.prank(COMPANY);
        VM.expectRevert(abi.encodeWithSelector(IStationRegistry.NotTheStation.selector, COMPANY, address(0)));
        dispatch.report(7, _reportOf(0, 0, false, false));
    }

    function test_reportOvertakenByTransfersIsRefused() public {
        _apply(user, BUY, 2, 0);
        checkEqual(_state(station).transfers, 2, "transfers");

        _expectReport(
            _reportOf(0, 20_000, true, true), abi.encodeWithSelector(IStationRegistry.ReportOvertaken.selector, 0, 2)
        );
        _checkStation(station, 18_000, true, true);
        VM.prank(_key(station));
        dispatch.report(station, _reportOf(2, 17_990, true, true));
        _checkStation(station, 17_990, true, true);
    }

    function test_reportOfMoreThanFitsIsRefused() public {
        _expectReport(
            _reportOf(0, 40_001, false, false),
            abi.encodeWithSelector(IStationRegistry.StoredExceedsCapacity.selector, 40_001, 40_000)
        );
        _report(station, 40_000, true, false);
    }

    function test_flagThatTheNumbersDenyIsRefused() public {
        _expectReport(
            _reportOf(0, 6_000, true, true),
            abi.encodeWithSelector(IStationRegistry.FlagContradicted.selector, Service.Supply, 6_000, 6_000)
        );
        _report(station, 6_001, true, true);
        _report(station, 6_000, false, true);
        _expectReport(
            _reportOf(0, 36_000, true, true),
            abi.encodeWithSelector(IStationRegistry.FlagContradicted.selector, Service.Acquire, 4_000, 4_000)
        );
        _report(station, 35_999, true, true);
        _report(station, 36_000, true, false);
    }

    function test_clearedFlagReturnsWithAReportOnly() public {
        // Eight units stored for the reserve of three users and the newcomer.
        _report(station, 8_000, true, true);
        checkEqual(_connect(user, BUY), 0, "nobody");
        _checkStation(station, 8_000, false, true);
        _report(station, 30_000, false, true);
        checkEqual(_connect(user, BUY), 0, "energy without the flag");
        _report(station, 30_000, true, true);
        checkEqual(_connect(user, BUY), station, "station");
    }
}
