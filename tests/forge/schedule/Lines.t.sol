// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import {ILineRegistry} from "../../../contracts/interfaces/ILineRegistry.sol";
import {VM, check, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @notice A user's lines stay sorted by loss and then by station, whatever is done to them.
contract LinesTest is Grid {
    uint32 internal constant STATIONS = 24;
    address internal user = address(0xA);

    /// @dev What the losses must be, by station; -1 for no line.
    int256[STATIONS + 1] internal losses;

    function setUp() public {
        for (uint32 i; i < STATIONS; ++i) {
            _register(40, 20, true, true);
        }
        for (uint256 i; i <= STATIONS; ++i) {
            losses[i] = -1;
        }
    }

    function _remove(uint32 station) internal {
        VM.prank(COMPANY);
        lines.removeLine(user, station);
    }

    function _suspend(uint32 station) internal {
        VM.prank(address(dispatch));
        lines.suspend(user, station);
    }

    function test_linesAreSortedByLossAndThenByRegistration() public {
        ILineRegistry.LineTerms[] memory terms = new ILineRegistry.LineTerms[](7);
        uint16[7] memory given = [uint16(500), 10_000, 0, 500, 499, 500, 501];
        for (uint32 i; i < 7; ++i) {
            terms[i] = ILineRegistry.LineTerms(7 - i, given[i]);
        }
        VM.prank(COMPANY);
        lines.setLines(user, terms);

        ILineRegistry.Line[] memory all = lines.linesOf(user);
        uint32[7] memory expected = [uint32(5), 3, 2, 4, 7, 1, 6];
        checkEqual(all.length, 7, "lines");
        for (uint256 i; i < 7; ++i) {
            checkEqual(all[i].station, expected[i], "station");
        }
    }

    function test_linesAreFiveAWord() public {
        for (uint32 i = 1; i <= 6; ++i) {
            _line(user, i, 10_000);
        }
        checkEqual(lines.wordOf(user, 0) >> 4 * 48, uint256(10_000) << 33 | 5 << 1, "fifth line");
        checkEqual(lines.wordOf(user, 1), uint256(10_000) << 33 | 6 << 1, "sixth line");
        checkEqual(lines.wordOf(user, 2), 0, "end");
        _remove(1);
        checkEqual(lines.wordOf(user, 1), 0, "end after the fifth");
    }

    function test_suspensionSurvivesAChangeOfLoss() public {
        _line(user, 1, 100);
        _line(user, 2, 200);
        _suspend(1);
        _line(user, 1, 300);

        ILineRegistry.Line[] memory all = lines.linesOf(user);
        check(!all[0].suspended && all[1].suspended, "suspension");
        checkEqual(all[1].station, 1, "order");
        checkEqual(all[1].loss, 300, "loss");
    }

    function test_suspendingWhatIsNotThereIsNoError() public {
        _suspend(1);
        _line(user, 1, 100);
        _suspend(1);
        _suspend(1);
        check(lines.linesOf(user)[0].suspended, "not suspended");
        VM.expectEmit(address(lines));
        emit ILineRegistry.LineRestored(user, 1);
        VM.prank(COMPANY);
        lines.restoreLine(user, 1);
        check(!lines.linesOf(user)[0].suspended, "suspended");
    }

    function test_linesRejectWhatTheyCannotMean() public {
        ILineRegistry.LineTerms[] memory terms = new ILineRegistry.LineTerms[](1);
        VM.startPrank(COMPANY);
        terms[0] = ILineRegistry.LineTerms(0, 0);
        VM.expectRevert(abi.encodeWithSelector(ILineRegistry.UnknownStation.selector, 0));
        lines.setLines(user, terms);
        terms[0] = ILineRegistry.LineTerms(STATIONS + 1, 0);
        VM.expectRevert(abi.encodeWithSelector(ILineRegistry.UnknownStation.selector, STATIONS + 1));
        lines.setLines(user, terms);
        terms[0] = ILineRegistry.LineTerms(1, 10_001);
        VM.expectRevert(abi.encodeWithSelector(ILineRegistry.InvalidLoss.selector, 10_001, 10_000));
        lines.setLines(user, terms);
        VM.expectRevert(abi.encodeWithSelector(ILineRegistry.UnknownLine.selector, user, 1));
        lines.removeLine(user, 1);
        VM.expectRevert(abi.encodeWithSelector(ILineRegistry.UnknownLine.selector, user, 1));
        lines.restoreLine(user, 1);
        terms[0].loss = 1;
        lines.setLines(user, terms);
        VM.expectRevert(abi.encodeWithSelector(ILineRegistry.LineNotSuspended.selector, user, 1));
        lines.restoreLine(user, 1);
        VM.stopPrank();
    }

    function test_onlyTheCompanyDrawsLines() public {
        bytes memory reason = abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, user);
        VM.startPrank(user);
        VM.expectRevert(reason);
        lines.setLines(user, new ILineRegistry.LineTerms[](0));
        VM.expectRevert(reason);
        lines.removeLine(user, 1);
        VM.expectRevert(reason);
        lines.restoreLine(user, 1);
        VM.expectRevert(abi.encodeWithSelector(ILineRegistry.NotTheDispatch.selector, user, dispatch));
        lines.suspend(user, 1);
        VM.stopPrank();
    }

    /// @dev Random edits of up to 24 lines, against a model that does not sort.
    function testFuzz_linesStaySortedAndComplete(uint256 seed) public {
        uint256 count;
        for (uint256 step; step < 40; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint32 station = uint32(seed % STATIONS) + 1;
            if (losses[station] >= 0 && seed >> 32 & 3 == 0) {
                _remove(station);
                losses[station] = -1;
                --count;
            } else {
                if (losses[station] < 0) ++count;
                // Few different losses, so that many are equal.
                uint16 loss = uint16(seed >> 64) % 7;
                _line(user, station, loss);
                losses[station] = int256(uint256(loss));
            }
        }

        ILineRegistry.Line[] memory all = lines.linesOf(user);
        checkEqual(all.length, count, "lines");
        for (uint256 i; i < count; ++i) {
            checkEqual(all[i].loss, uint256(losses[all[i].station]), "loss");
            if (i == 0) continue;
            check(
                all[i - 1].loss < all[i].loss
                    || (all[i - 1].loss == all[i].loss && all[i - 1].station < all[i].station),
                "order"
            );
        }
    }
}
