// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {VM, Vm, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @notice The paper's second experiment: tables 2 to 7, with its 14 and 13 units on record.
contract Experiment2Test is Grid {
    address internal user1 = address(0x1);
    address internal user2 = address(0x2);
    address internal user3 = address(0x3);
    uint32 internal a;
    uint32 internal b;
    uint32 internal c;

    function setUp() public {
        VM.recordLogs();
        // Table 2. Station a has less than a newcomer's reserve; b serves two users who draw nothing (figure 15).
        a = _register(20, 1, false, true);
        b = _registerServing(40, 20, true, true, 2, 0);
        c = _register(40, 20, true, true);
        for (uint256 i; i < 3; ++i) {
            _fund([a, b, c][i], 100);
        }
        _line(user1, a, 1500);
        _line(user1, b, 1000);
        _line(user2, a, 2000);
        _line(user2, c, 1500);
        _line(user3, a, 2000);
        _line(user3, c, 2500);
        _welcome(user1, 20);
        _welcome(user2, 20);
        _welcome(user3, 20);
    }

    function test_supplyRecordsFourteenUnits() public {
        (uint32 station, uint256 drawn) = _apply(user1, BUY, 20, 0);
        checkEqual(station, b, "first station");
        checkEqual(drawn, 10, "units until k");
        // Table 3: as before.
        _checkStation(b, 10_000, true, true);
        _checkConnected(b, 2, 0);

        // Figure 17: 10 units stored, two others connected: 10 > 4, and more than the 6 that we ask for.
        (station, drawn) = _apply(user1, BUY, 10, _reading(user1, BUY));
        checkEqual(station, b, "second station");
        checkEqual(drawn, 4, "units until b's reserve");
        // Table 4: b is unavailable and has disconnected all; a, having charged, is available.
        _report(a, 5_000, true, true);
        _checkStation(a, 5_000, true, true);
        _checkStation(b, 6_000, false, true);
        _checkStation(c, 20_000, true, true);
        _checkConnected(b, 0, 0);

        checkEqual(_units(VM.getRecordedLogs(), b, user1, BUY), 14, "units on record");
        checkEqual(rights.balanceOf(user1), 6_000, "rights left");
        checkEqual(settlement.freeOf(b), 114_000, "rights of b");
        checkEqual(dispatch.stationState(b).epochSupply, 1, "epoch");
    }

    function test_acquisitionRecordsThirteenUnits() public {
        // Table 5, and figure 20: a stores 5 of 20 units and nobody is connected.
        _report(a, 5_000, false, true);
        (uint32 station, uint256 drawn) = _apply(user3, SELL, 13, 0);
        checkEqual(station, a, "first station");
        checkEqual(drawn, 10, "units until k");
        _accept(user3, 10, 10_000);
        // Table 6: as before.
        _checkStation(a, 15_000, false, true);

        (station, drawn) = _apply(user3, SELL, 3, _reading(user3, SELL));
        checkEqual(station, a, "second station");
        checkEqual(drawn, 3, "units until a's reserve");
        _accept(user3, 3, 3_000);
        // Table 7 prints the flags for acquisition: a has no room beyond the reserve, c is full and says so.
        _report(c, 40_000, true, false);
        _checkStation(a, 18_000, false, false);
        _checkStation(b, 20_000, true, true);
        _checkStation(c, 40_000, true, false);
        _checkConnected(a, 0, 0);

        checkEqual(_units(VM.getRecordedLogs(), a, user3, SELL), 13, "units on record");
        checkEqual(rights.balanceOf(user3), 33_000, "rights earned");
        checkEqual(settlement.freeOf(a), 87_000, "rights of a");
    }
}
