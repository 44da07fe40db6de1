// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITransactionLock} from "../../contracts/interfaces/ITransactionLock.sol";
import {Chain, SUPPLY, TRANSACTION} from "./support/Network.sol";
import {End, Tally, Traffic} from "./support/Traffic.sol";
import {check, checkEqual} from "./support/Vm.sol";

/// @notice The law of the lock: random traffic over all routes conserves value and delivers exactly once, in order.
/// The order is held by {Traffic} at each packet, against the events and the rolling hashes; here are the totals.
contract ConservationTest {
    uint256 internal constant CHAINS = 3;
    uint256 internal constant BOXES = 16;

    Traffic internal traffic;

    function setUp() public {
        traffic = new Traffic();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(traffic);
    }

    function invariant_valueIsConservedAndDeliveredOnce() public view {
        for (uint256 chain; chain < CHAINS; ++chain) {
            _checkChain(chain);
        }
        _checkBacking(1);
        _checkBacking(2);
    }

    function afterInvariant() public view {
        Tally memory tally = traffic.tally();
        // Not where forge replays a few calls of a failure.
        if (tally.actions < 300) return;
        check(tally.credits != 0 && tally.packets != 0, "a run credited nothing");
        check(tally.expired + tally.unknown + tally.short != 0, "a run bounced nothing");
    }

    function test_trafficReachesEveryOutcome() public {
        for (uint256 i; i < 500; ++i) {
            _act(i);
        }
        invariant_valueIsConservedAndDeliveredOnce();

        Tally memory t = traffic.tally();
        check(t.locks != 0 && t.purchases != 0 && t.forged != 0, "no locks");
        check(t.packets != 0 && t.checkpoints != 0 && t.overlaps != 0 && t.limited != 0, "no packets of some kind");
        check(t.unconfirmed != 0 && t.stale != 0 && t.empty != 0 && t.rejected != 0, "no packets of some kind");
        check(t.credits != 0 && t.expired != 0 && t.unknown != 0 && t.short != 0, "no bounces of some kind");
        check(t.returned != 0 && t.waiting != 0 && t.unfunded != 0 && t.claims != 0, "no claims of some kind");
    }

    function _act(uint256 seed) internal {
        seed = uint256(keccak256(abi.encode(seed)));
        uint256 action = seed % 9;
        if (action == 0) traffic.lock(seed);
        else if (action == 1) traffic.purchase(seed);
        else if (action == 2) traffic.advance(seed);
        else if (action == 3) traffic.register(seed);
        else if (action == 4) traffic.donate(seed);
        else if (action == 5) traffic.issueAndRedeem(seed);
        else if (action == 6) traffic.corrupt(seed);
        else if (action == 7) traffic.deliver(seed);
        else traffic.claim(seed);
    }

    /* LAWS */

    /// @dev The boxes of a chain hold what its routes and the claims on it say, and what strangers sent there; nobody
    /// but the parties holds anything else; and no route released more than was locked to it.
    function _checkChain(uint256 chain) internal view {
        Chain memory c = traffic.chainAt(chain);
        uint256 held;
        for (uint256 route = 1; route <= CHAINS; ++route) {
            if (chain == TRANSACTION || route == chain) held += _checkEnd(c, chain, route);
        }

        uint256 inBoxes;
        for (uint256 i; i < BOXES; ++i) {
            inBoxes += c.asset.balanceOf(c.lock.boxAt(i));
        }
        checkEqual(inBoxes, held + traffic.donated(chain), "boxes hold pools and claims");

        uint256 circulating;
        address[] memory holders = traffic.actorsAndCompany();
        for (uint256 i; i < holders.length; ++i) {
            uint256 balance = c.asset.balanceOf(holders[i]);
            checkEqual(balance, traffic.balances(chain, holders[i]), "balance of a party");
            circulating += balance;
        }
        checkEqual(inBoxes + circulating, c.asset.totalSupply(), "nothing is anywhere else");
        checkEqual(
            c.asset.totalSupply(), chain == TRANSACTION ? traffic.issued() : SUPPLY, "supply of the chain's asset"
        );
    }

    function _checkEnd(Chain memory c, uint256 chain, uint256 route) internal view returns (uint256 held) {
        End memory end = traffic.endAt(route, chain);
        bytes32 key = traffic.routeTo(chain == TRANSACTION ? route : TRANSACTION);
        uint256 funded = c.lock.CLAIMS().fundedTotal(key);
        uint256 pool = c.lock.routeState(key).pool;
        checkEqual(funded, end.funded, "claims set aside");
        checkEqual(pool + funded + end.released, end.locked, "a route releases what was locked to it");
        return (pool + funded) * end.lot;
    }

    /// @dev backing = circulating + in flight both ways, in lots: what the transaction chain holds for a route is what
    /// is out on its scheduling chain, on the way, or back there and waiting for rights to come in: with more tokens
    /// than rights, others may have taken those of a transfer that then bounced.
    function _checkBacking(uint256 route) internal view {
        ITransactionLock.RouteState memory here = traffic.chainAt(TRANSACTION).lock.routeState(traffic.routeTo(route));
        Chain memory scheduling = traffic.chainAt(route);
        ITransactionLock.RouteState memory there = scheduling.lock.routeState(traffic.routeTo(TRANSACTION));
        uint256 circulating = scheduling.asset.totalSupply() / there.lot - there.pool;
        uint256 inFlight = traffic.lotsBetween(route, route, there.inboxPosition, here.outboxPosition)
            + traffic.lotsBetween(route, TRANSACTION, here.inboxPosition, there.outboxPosition);
        uint256 unfunded = traffic.endAt(route, route).unfunded;
        checkEqual(here.pool, circulating + inFlight + unfunded, "backing is circulation and what is in flight");
        checkEqual(traffic.endAt(route, TRANSACTION).unfunded, 0, "an honest route is backed in full");
    }
}
