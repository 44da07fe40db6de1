// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";

import {End, IDispatch} from "../../../contracts/interfaces/IDispatch.sol";
import {IStationRegistry} from "../../../contracts/interfaces/IStationRegistry.sol";
import {Permit} from "../../../contracts/interfaces/ITransactionLock.sol";
import {VM, check, checkEqual} from "../support/Vm.sol";
import {Grid} from "./Grid.sol";

/// @notice Who is served by whom, and when that ends.
contract DispatchTest is Grid {
    address internal alice = address(0xA);
    address internal bob = address(0xB);

    function setUp() public {
        _welcome(alice, 100);
        _welcome(bob, 100);
    }

    /// @dev A station of 100 units that is half full, with lines to both users.
    function _station(uint16 loss) internal returns (uint32 station) {
        station = _register(100, 50, true, true);
        _fund(station, 100);
        _line(alice, station, loss);
        _line(bob, station, loss);
    }

    /* ASSIGNMENT */

    function test_lowestLossWins() public {
        _station(300);
        uint32 best = _station(100);
        _station(200);
        (uint32 station, uint16 loss) = dispatch.assigned(alice, BUY);
        checkEqual(station, best, "assigned");
        checkEqual(loss, 100, "loss");

        VM.expectEmit(address(dispatch));
        emit IDispatch.Connected(alice, best, BUY, 100, 0);
        checkEqual(_connect(alice, BUY), best, "station");
        checkEqual(_connection(alice, BUY).loss, 100, "loss of the connection");
    }

    function test_tieGoesToTheStationRegisteredFirst() public {
        uint32 first = _register(100, 50, true, true);
        uint32 second = _register(100, 50, true, true);
        _line(alice, second, 100);
        _line(alice, first, 100);
        checkEqual(_connect(alice, BUY), first, "station");
    }

    function test_unavailableStationIsPassedOver() public {
        uint32 best = _station(100);
        uint32 next = _station(200);
        _report(best, 50_000, false, true);
        checkEqual(_connect(alice, BUY), next, "for supply");
        checkEqual(_connect(alice, SELL), best, "for acquisition");
    }

    function test_assignmentReadsOnPastAFullWordOfLines() public {
        for (uint16 i; i < 10; ++i) {
            _report(_station(i), 50_000, false, false);
        }
        checkEqual(_connect(alice, BUY), 0, "nobody");
        uint32 eleventh = _station(10);
        checkEqual(_connect(alice, BUY), eleventh, "station");
    }

    function test_nobodyIsAvailable() public {
        VM.expectEmit(address(dispatch));
        emit IDispatch.NoStationAvailable(alice, BUY);
        (uint32 station, uint256 drawn) = _apply(alice, BUY, 5, 0);
        checkEqual(station, 0, "station");
        checkEqual(drawn, 0, "drawn");
        check(!dispatch.isConnected(alice, BUY), "connected");
        checkEqual(rights.balanceOf(alice), 100_000, "rights");
    }

    /* THE STATION'S CHECK */

    function test_newcomerAtTheThresholdIsRefused() public {
        uint32 best = _registerServing(100, 6, true, false, 2, 0);
        uint32 next = _station(200);
        _line(alice, best, 100);
        checkEqual(best, 1, "registered first");

        (uint32 station,) = dispatch.assigned(alice, BUY);
        checkEqual(station, next, "assigned");
        VM.expectEmit(address(dispatch));
        emit IStationRegistry.FlagCleared(best, BUY);
        checkEqual(_connect(alice, BUY), next, "station");
        // Those connected go on, and the flag is gone for the next application too.
        _checkStation(best, 6_000, false, false);
        _checkConnected(best, 2, 0);
    }

    function test_newcomerAboveTheThresholdIsServed() public {
        uint32 best = _registerServing(100, 6, true, false, 2, 0);
        _line(alice, best, 100);
        _report(best, 6_001, true, false);
        checkEqual(_connect(alice, BUY), best, "station");
        // 5,001 is not above the reserve of three: all are disconnected.
        _checkStation(best, 5_001, false, false);
        _checkConnected(best, 0, 0);
        check(!dispatch.isConnected(alice, BUY), "connected");
    }

    function test_acquisitionIsCheckedAgainstFreeSpace() public {
        uint32 full = _registerServing(100, 96, false, true, 0, 1);
        _fund(full, 10);
        _line(alice, full, 0);
        checkEqual(_connect(alice, SELL), 0, "room for the reserve of two at most");
        _checkStation(full, 96_000, false, false);
        _report(full, 95_999, false, true);
        checkEqual(_connect(alice, SELL), full, "room for more");
    }

    function test_stationWithoutARightDoesNotBuy() public {
        uint32 poor = _register(100, 50, true, true);
        uint32 rich = _station(200);
        _line(alice, poor, 100);
        VM.prank(COMPANY);
        settlement.fund(poor, UNIT - 1);

        checkEqual(_connect(alice, SELL), rich, "station");
        _checkStation(poor, 50_000, true, false);
        VM.prank(COMPANY);
        settlement.fund(poor, 1);
        _report(poor, 50_000, true, true);
        _close(alice, SELL, 0);
        checkEqual(_connect(alice, SELL), poor, "with a right");
    }

    function test_stationThatSpendsItsLastRightDisconnectsItsSellers() public {
        uint32 station = _register(100, 50, true, true);
        _fund(station, 3);
        _line(alice, station, 0);
        _line(bob, station, 0);
        _connect(bob, SELL);
        (, uint256 drawn) = _apply(alice, SELL, 5, 0);

        checkEqual(drawn, 2, "what it could pay");
        check(!dispatch.isConnected(bob, SELL), "bob is connected");
        _checkStation(station, 50_000, true, false);
        checkEqual(_state(station).coming, 3_000, "coming");
        _checkConnected(station, 0, 0);
    }

    function test_unitThatTheLevelDoesNotHoldIsNotDrawn() public {
        uint32 station = _station(100);
        _connect(alice, BUY);
        // What is stored was lost: a report may say so at any time.
        _report(station, 999, false, true);
        checkEqual(_draw(alice, BUY, 1, 990), 0, "drawn");
        _checkStation(station, 999, false, true);
        _checkConnected(station, 0, 0);
        checkEqual(rights.balanceOf(alice), 99_000, "rights");
    }

    /* UNITS */

    function test_drawPaysARightAUnit() public {
        uint32 station = _station(1000);
        _connect(alice, BUY);
        checkEqual(_draw(alice, BUY, 3, 900), 3, "drawn");
        checkEqual(rights.balanceOf(alice), 96_000, "rights of alice");
        checkEqual(settlement.freeOf(station), 104_000, "rights of the station");
        checkEqual(rights.balanceOf(address(settlement)), 104_000, "rights held");
        _checkStation(station, 46_000, true, true);
        checkEqual(_state(station).transfers, 4, "transfers");
        checkEqual(_connection(alice, BUY).drawn, 4, "drawn on the connection");
    }

    function test_connectionEndsAfterKUnits() public {
        uint32 station = _station(0);
        _connect(alice, BUY);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Disconnected(alice, station, BUY, End.Limit);
        checkEqual(_draw(alice, BUY, 30, 1000), 9, "drawn");
        _checkConnected(station, 0, 0);
        VM.prank(alice);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotConnected.selector, alice, BUY));
        dispatch.draw(BUY, 1, 10_000);
    }

    function test_applicationMovesToTheBetterStationAfterKUnits() public {
        uint32 worse = _station(200);
        (uint32 station,) = _apply(alice, BUY, 20, 0);
        checkEqual(station, worse, "first");
        uint32 better = _station(100);
        (station,) = _apply(alice, BUY, 10, _reading(alice, BUY));
        checkEqual(station, better, "second");
    }

    function test_applicationClosesWithItsLastUnit() public {
        uint32 station = _station(0);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Disconnected(alice, station, BUY, End.Closed);
        (, uint256 drawn) = _apply(alice, BUY, 3, 0);
        checkEqual(drawn, 3, "drawn");
        _checkConnected(station, 0, 0);
    }

    function test_applicationIsConnectDrawClose() public {
        uint32 station = _station(0);
        uint256 before = VM.snapshotState();
        _apply(alice, BUY, 7, 0);
        bytes32 applied = keccak256(abi.encode(_state(station), rights.balanceOf(alice)));
        VM.revertToState(before);

        _connect(alice, BUY);
        _draw(alice, BUY, 6, 1000);
        _close(alice, BUY, 7000);
        checkEqual(keccak256(abi.encode(_state(station), rights.balanceOf(alice))), applied, "state");
    }

    function test_drawOfNothingIsRefused() public {
        _station(0);
        VM.startPrank(alice);
        VM.expectRevert(IDispatch.ZeroUnits.selector);
        dispatch.applyFor(BUY, 0, 0);
        dispatch.connect(BUY, 0);
        VM.expectRevert(IDispatch.ZeroUnits.selector);
        dispatch.draw(BUY, 0, 1000);
        VM.stopPrank();
    }

    /* CONNECTIONS */

    function test_oneOpenConnectionPerUserAndService() public {
        uint32 station = _station(0);
        _connect(alice, BUY);
        VM.prank(alice);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.AlreadyConnected.selector, alice, BUY, station));
        dispatch.connect(BUY, 1000);
        _connect(alice, SELL);
        _connect(bob, BUY);
        _checkConnected(station, 2, 1);
    }

    function test_closingLowersTheStationOnce() public {
        uint32 station = _station(0);
        _connect(alice, BUY);
        _connect(bob, BUY);
        _close(alice, BUY, 1000);
        _checkConnected(station, 1, 0);
        VM.prank(alice);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotConnected.selector, alice, BUY));
        dispatch.close(BUY, 1000);
    }

    function test_stationAtItsReserveDisconnectsEverybody() public {
        uint32 station = _register(100, 8, true, true);
        _line(alice, station, 0);
        _line(bob, station, 0);
        _connect(bob, BUY);
        _connect(alice, BUY);
        checkEqual(_draw(alice, BUY, 9, 1000), 2, "drawn until 4 units are left for two users");
        _checkStation(station, 4_000, false, true);
        _checkConnected(station, 0, 0);

        check(!dispatch.isConnected(bob, BUY), "bob is connected");
        VM.prank(bob);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotConnected.selector, bob, BUY));
        dispatch.draw(BUY, 1, 1000);
    }

    function test_closingAConnectionOfAnOlderEpochLeavesTheStationAlone() public {
        test_stationAtItsReserveDisconnectsEverybody();
        uint32 station = 1;
        _report(station, 50_000, true, true);
        _connect(alice, BUY, 3000);
        _checkConnected(station, 1, 0);
        _close(bob, BUY, 1000);
        _checkConnected(station, 1, 0);
        _connect(bob, BUY);
        _checkConnected(station, 2, 0);
        checkEqual(_connection(bob, BUY).epoch, 1, "epoch");
    }

    function test_applyingAgainAfterAnEpochNeedsNoClose() public {
        test_stationAtItsReserveDisconnectsEverybody();
        _report(1, 50_000, true, true);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Metered(1, bob, BUY, false, 1, 1000);
        checkEqual(_connect(bob, BUY, 1000), 1, "station");
        _checkConnected(1, 1, 0);
    }

    /* RIGHTS */

    function test_userWithoutARightIsNotConnected() public {
        uint32 station = _station(0);
        address poor = address(0xC);
        _line(poor, station, 0);
        _welcome(poor, 0);
        VM.prank(COMPANY);
        rights.transfer(poor, UNIT - 1);
        VM.prank(poor);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.InsufficientRights.selector, poor, UNIT - 1, UNIT));
        dispatch.connect(BUY, 0);
        _checkConnected(station, 0, 0);
    }

    function test_userWithoutAnAllowanceIsNotConnected() public {
        _station(0);
        VM.startPrank(alice);
        rights.approve(address(settlement), 500);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.InsufficientRights.selector, alice, 500, UNIT));
        dispatch.connect(BUY, 0);
        VM.stopPrank();
    }

    function test_userThatRunsOutIsDisconnected() public {
        uint32 station = _station(0);
        VM.prank(alice);
        rights.approve(address(settlement), 3_999);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Disconnected(alice, station, BUY, End.Rights);
        (, uint256 drawn) = _apply(alice, BUY, 9, 0);
        checkEqual(drawn, 3, "drawn");
        _checkStation(station, 47_000, true, true);
        _checkConnected(station, 0, 0);
    }

    function test_userThatGaveItsRightsAwayIsDisconnected() public {
        uint32 station = _station(0);
        _connect(alice, BUY);
        VM.prank(alice);
        rights.transfer(bob, 99_000);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Disconnected(alice, station, BUY, End.Rights);
        checkEqual(_draw(alice, BUY, 1, 1000), 0, "drawn");
        _checkConnected(station, 0, 0);
    }

    function test_sellingNeedsNoRight() public {
        uint32 station = _station(0);
        address poor = address(0xC);
        _line(poor, station, 0);
        checkEqual(_connect(poor, SELL), station, "station");
        check(_accept(poor, 1, 1000), "not accepted");
        checkEqual(rights.balanceOf(poor), UNIT, "paid");
    }

    function test_permitOfTheCallerPays() public {
        uint256 key = 0xC0FFEE;
        address user = VM.addr(key);
        uint32 station = _station(0);
        _line(user, station, 0);
        VM.prank(COMPANY);
        rights.transfer(user, 5 * UNIT);
        Permit memory permit = _permit(key, 3 * UNIT);
        uint256 before = VM.snapshotState();

        VM.prank(user);
        (, uint256 drawn) = dispatch.applyWithPermit(4, 0, permit);
        checkEqual(drawn, 3, "drawn");
        checkEqual(rights.allowance(user, address(settlement)), 0, "allowance left");

        // Somebody used it first: the allowance is there all the same.
        VM.revertToState(before);
        VM.prank(STRANGER);
        IERC20Permit(address(rights))
            .permit(user, address(settlement), permit.value, permit.deadline, permit.v, permit.r, permit.s);
        VM.prank(user);
        (, drawn) = dispatch.applyWithPermit(4, 0, permit);
        checkEqual(drawn, 3, "drawn when front-run");
    }

    function test_permitOfAnotherPaysNothing() public {
        _station(0);
        address poor = address(0xC);
        _line(poor, 1, 0);
        Permit memory permit = _permit(0xC0FFEE, UNIT);
        VM.prank(poor);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.InsufficientRights.selector, poor, 0, UNIT));
        dispatch.applyWithPermit(1, 0, permit);
    }

    function _permit(uint256 key, uint256 value) internal view returns (Permit memory) {
        bytes32 kind = keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 content = keccak256(abi.encode(kind, VM.addr(key), settlement, value, 0, type(uint256).max));
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(
            key, keccak256(abi.encodePacked("\x19\x01", IERC20Permit(address(rights)).DOMAIN_SEPARATOR(), content))
        );
        return Permit(value, type(uint256).max, v, r, s);
    }

    /* IDLENESS */

    function test_idleConnectionIsClosedByAnyone() public {
        uint32 station = _station(0);
        _connect(alice, BUY);
        VM.roll(block.number + IDLE_BLOCKS - 1);
        VM.prank(STRANGER);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotIdle.selector, IDLE_BLOCKS - 1, IDLE_BLOCKS));
        dispatch.closeIdle(alice, BUY);

        VM.roll(block.number + 1);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Disconnected(alice, station, BUY, End.Idle);
        VM.prank(STRANGER);
        dispatch.closeIdle(alice, BUY);
        _checkConnected(station, 0, 0);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotConnected.selector, alice, BUY));
        dispatch.closeIdle(alice, BUY);
    }

    function test_aUnitEndsIdleness() public {
        _station(0);
        _connect(alice, BUY);
        VM.roll(block.number + IDLE_BLOCKS);
        _draw(alice, BUY, 1, 1000);
        VM.expectRevert(abi.encodeWithSelector(IDispatch.NotIdle.selector, 0, IDLE_BLOCKS));
        dispatch.closeIdle(alice, BUY);
    }

    function test_userClosedForIdlenessStillAcknowledges() public {
        uint32 station = _station(1000);
        _connect(alice, BUY);
        VM.roll(block.number + IDLE_BLOCKS);
        dispatch.closeIdle(alice, BUY);
        VM.expectEmit(address(dispatch));
        emit IDispatch.Metered(station, alice, BUY, false, 1, 900);
        _close(alice, BUY, 900);
        _checkConnected(station, 0, 0);
    }

    /* COST */

    function test_stationsWithoutALineCostNothing() public {
        for (uint16 i; i < 5; ++i) {
            _report(_station(i), 50_000, false, false);
        }
        _station(5);
        uint256 before = VM.snapshotState();
        uint256 alone = _costOfConnecting();
        check(alone > 50_000, "not a cold state");
        VM.revertToState(before);
        for (uint256 i; i < 1_000; ++i) {
            _register(100, 50, true, true);
        }
        checkEqual(_costOfConnecting(), alone, "gas");
    }

    function _costOfConnecting() internal returns (uint256) {
        VM.cool(address(dispatch));
        VM.cool(address(lines));
        VM.cool(address(settlement));
        VM.cool(address(rights));
        VM.prank(alice);
        uint256 left = gasleft();
        dispatch.connect(BUY, 0);
        return left - gasleft();
    }
}
