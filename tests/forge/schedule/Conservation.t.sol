// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Service} from "../../../contracts/interfaces/IStationRegistry.sol";
import {check, checkEqual} from "../support/Vm.sol";
import {ConnectionModel, Crowd, CrowdTally, StationModel} from "./Crowd.sol";

/// @notice The laws of dispatch: random traffic conserves energy and rights, and counts who is connected. That each
/// step is the listing's, {Crowd} holds at once; here are the totals.
contract ScheduleConservationTest {
    uint256 internal constant UNIT = 1_000;
    uint256 internal constant SUPPLY = 1_000_000_000;

    Crowd internal crowd;

    function setUp() public {
        crowd = new Crowd();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(crowd);
    }

    function invariant_energyAndRightsAreConservedAndUsersCounted() public view {
        _checkEnergyAndRights();
        _checkUsers();
    }

    function test_crowdReachesEveryOutcome() public {
        for (uint256 i; i < 1_500; ++i) {
            _act(i);
        }
        invariant_energyAndRightsAreConservedAndUsersCounted();

        CrowdTally memory t = crowd.tally();
        check(t.connections != 0 && t.units != 0 && t.nobody != 0 && t.refusals != 0, "no applications of some kind");
        check(t.limits != 0 && t.exhausted != 0 && t.poor != 0 && t.idle != 0, "no ends of some kind");
        check(t.disputes != 0 && t.accepted != 0 && t.released != 0, "no meters of some kind");
        check(t.settled != 0 && t.reports != 0 && t.contradicted != 0 && t.cleared != 0, "no stations of some kind");
    }

    function _act(uint256 seed) internal {
        seed = uint256(keccak256(abi.encode(seed)));
        uint256 action = seed % 12;
        if (action < 2) crowd.applyOrConnect(seed);
        else if (action == 2) crowd.draw(seed);
        else if (action == 3) crowd.close(seed);
        else if (action == 4) crowd.closeIdle(seed);
        else if (action == 5) crowd.give(seed);
        else if (action < 8) crowd.accept(seed);
        else if (action == 8) crowd.report(seed);
        else if (action == 9) crowd.settle(seed);
        else if (action == 10) crowd.redraw(seed);
        else crowd.resolve(seed);
    }

    /* LAWS */

    function _checkEnergyAndRights() internal view {
        (address rightsAt,, address settlement, address company) = crowd.parts();
        IERC20 rights = IERC20(rightsAt);
        uint256 held;
        uint256 due;
        for (uint32 id = 1; id <= crowd.STATIONS(); ++id) {
            StationModel memory s = crowd.stationModel(id);
            check(s.stored + s.coming <= s.capacity, "a station stores more than it can");
            checkEqual(s.coming, s.due, "rights are set aside for all that is coming");
            held += s.free + s.due;
            due += s.due;
        }
        checkEqual(rights.balanceOf(settlement), held, "rights of all stations");

        uint256 circulating;
        uint256 agreed;
        for (uint256 i; i < crowd.USERS(); ++i) {
            address user = crowd.users(i);
            circulating += rights.balanceOf(user);
            ConnectionModel memory c = crowd.connectionModel(user, Service.Acquire);
            agreed += c.drawn - c.delivered;
            c = crowd.connectionModel(user, Service.Supply);
            checkEqual(c.drawn, c.delivered, "nobody draws units that are not paid");
        }
        checkEqual(due, agreed * UNIT, "set aside for what is agreed on");
        checkEqual(circulating + held + rights.balanceOf(company), SUPPLY, "all rights");
    }

    /// @dev Users of a station are its open connections of the epoch, and those it was registered with.
    function _checkUsers() internal view {
        for (uint32 id = 1; id <= crowd.STATIONS(); ++id) {
            StationModel memory s = crowd.stationModel(id);
            for (uint256 side; side < 2; ++side) {
                uint256 open = id == 1 && s.epoch[side] == 0 ? crowd.PRESET() : 0;
                for (uint256 i; i < crowd.USERS(); ++i) {
                    ConnectionModel memory c = crowd.connectionModel(crowd.users(i), Service(side));
                    if (c.open && c.station == id && c.epoch == s.epoch[side]) ++open;
                }
                checkEqual(s.users[side], open, "users connected");
            }
        }
    }
}
