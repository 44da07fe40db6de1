// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import {IAliasRegistry} from "../../contracts/interfaces/IAliasRegistry.sol";
import {IClaims} from "../../contracts/interfaces/IClaims.sol";
import {IEnergyToken} from "../../contracts/interfaces/IEnergyToken.sol";
import {ITransactionLock} from "../../contracts/interfaces/ITransactionLock.sol";
import {SUPPLY, TRANSACTION} from "./support/Network.sol";
import {Routes} from "./support/Routes.sol";
import {VM, check, checkEqual} from "./support/Vm.sol";

/// @notice Who may register, write, issue, redeem and add routes.
contract AccountsTest is Routes {
    /// @dev OpenZeppelin's.
    error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);

    /* ALIASES */

    function testFuzz_aliasBelongsToWhoRegistersIt(address owner, address thief, bytes32 secret) public {
        IAliasRegistry aliases = chains[FIRST].aliases;
        if (owner == thief || uint256(secret) == 1) return;
        // The thief sees the secret in the mempool and is first.
        VM.prank(thief);
        bytes20 stolen = aliases.register(secret);
        VM.prank(owner);
        bytes20 registered = aliases.register(secret);

        checkEqual(bytes32(registered), bytes32(bytes20(keccak256(abi.encode(owner, secret)))), "alias");
        checkEqual(aliases.ownerOf(registered), owner, "owner");
        checkEqual(aliases.ownerOf(stolen), thief, "owner of the thief's");
        check(stolen != registered, "an alias was stolen");
    }

    function test_aliasIsRegisteredOnce() public {
        VM.prank(alice);
        VM.expectRevert(abi.encodeWithSelector(IAliasRegistry.AliasTaken.selector, aliasOfAlice, alice));
        chains[FIRST].aliases.register(bytes32(uint256(1)));
    }

    function testFuzz_ownerHasManyAliases(bytes32 secretA, bytes32 secretB) public {
        if (secretA == secretB || uint256(secretA) == 1 || uint256(secretB) == 1) return;
        IAliasRegistry aliases = chains[FIRST].aliases;
        VM.startPrank(alice);
        bytes20 one = aliases.register(secretA);
        bytes20 two = aliases.register(secretB);
        VM.stopPrank();
        check(one != two && aliases.ownerOf(one) == alice && aliases.ownerOf(two) == alice, "owner");
    }

    /* CLAIMS */

    function testFuzz_onlyTheLockWritesClaims(address caller) public {
        ITransactionLock lock = chains[TRANSACTION].lock;
        IClaims book = lock.CLAIMS();
        if (caller == address(lock)) return;
        bytes memory refusal = abi.encodeWithSelector(IClaims.NotTheLock.selector, caller, address(lock));
        VM.startPrank(caller);
        VM.expectRevert(refusal);
        book.add(0, aliasOfAlice, 1, 1);
        VM.expectRevert(refusal);
        book.take(0, aliasOfAlice, 0);
        VM.stopPrank();
    }

    /* MONEY */

    function testFuzz_onlyTheCompanyIssuesAndRedeems(address caller) public {
        if (caller == COMPANY || caller == chains[TRANSACTION].manager) return;
        IEnergyToken token = IEnergyToken(address(chains[TRANSACTION].asset));
        bytes memory refusal = abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller);
        VM.startPrank(caller);
        VM.expectRevert(refusal);
        token.issue(caller, 1, 0);
        VM.expectRevert(refusal);
        token.redeem(0, 0);
        VM.stopPrank();
    }

    function test_companyRedeemsItsOwnTokensOnly() public {
        IEnergyToken token = IEnergyToken(address(chains[TRANSACTION].asset));
        uint256 own = _balance(TRANSACTION, COMPANY);
        uint256 supply = chains[TRANSACTION].asset.totalSupply();
        VM.startPrank(COMPANY);
        VM.expectRevert(abi.encodeWithSelector(ERC20InsufficientBalance.selector, COMPANY, own, own + 1));
        token.redeem(own + 1, 0);
        VM.expectEmit(address(token));
        emit IEnergyToken.Redeemed(COMPANY, own, "receipt");
        token.redeem(own, "receipt");
        VM.expectEmit(address(token));
        emit IEnergyToken.Issued(bob, 3, "receipt");
        token.issue(bob, 3, "receipt");
        VM.stopPrank();
        checkEqual(chains[TRANSACTION].asset.totalSupply(), supply - own + 3, "supply");
    }

    function testFuzz_rightsAreNeitherMadeNorUnmade(uint256 word1, uint256 word2) public {
        string[6] memory guesses = [
            "mint(address,uint256)",
            "burn(uint256)",
            "burn(address,uint256)",
            "issue(address,uint256,bytes32)",
            "redeem(uint256,bytes32)",
            "setAuthority(address)"
        ];
        for (uint256 i; i < guesses.length; ++i) {
            VM.prank(COMPANY);
            (bool accepted,) =
                address(chains[FIRST].asset).call(abi.encodePacked(bytes4(keccak256(bytes(guesses[i]))), word1, word2));
            check(!accepted, "rights have a back door");
        }
        checkEqual(chains[FIRST].asset.totalSupply(), SUPPLY, "supply");
    }

    /* ROUTES */

    function test_routeIsAddedOnceAndWithTermsThatMeanSomething() public {
        ITransactionLock lock = chains[TRANSACTION].lock;
        ITransactionLock.RouteTerms memory terms =
            ITransactionLock.RouteTerms(_state(TRANSACTION, FIRST).lightClient, CONFIRMATIONS, 1, 1);
        ITransactionLock.Counterpart memory counterpart = _counterpart(FIRST);
        _enter(TRANSACTION);
        VM.startPrank(COMPANY);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.RouteExists.selector, _routeTo(FIRST)));
        lock.addRoute(counterpart, terms, 0);

        counterpart.genesisHash = "another";
        (terms.lot, terms.peerLot) = (2, 4);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.InvalidLots.selector, 2, 4));
        lock.addRoute(counterpart, terms, 0);
        (terms.lot, terms.peerLot) = (0, 1);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.InvalidLots.selector, 0, 1));
        lock.addRoute(counterpart, terms, 0);
        (terms.lot, terms.peerLot) = (1, 0);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.InvalidLots.selector, 1, 0));
        lock.addRoute(counterpart, terms, 0);
        (terms.lot, terms.peerLot) = (type(uint32).max, type(uint32).max - 1);
        lock.addRoute(counterpart, terms, 0);
        VM.stopPrank();
    }

    function test_counterpartMayHaveTheSameAddressOnItsChainButIsNotTheLockItself() public {
        ITransactionLock lock = chains[TRANSACTION].lock;
        ITransactionLock.RouteTerms memory terms =
            ITransactionLock.RouteTerms(_state(TRANSACTION, FIRST).lightClient, CONFIRMATIONS, 1, 1);
        uint256 id = chains[TRANSACTION].id;
        _enter(TRANSACTION);
        VM.startPrank(COMPANY);
        lock.addRoute(ITransactionLock.Counterpart(id + 77, "genesis", address(lock)), terms, 0);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.InvalidCounterpart.selector, address(lock)));
        lock.addRoute(ITransactionLock.Counterpart(id, "genesis", address(lock)), terms, 0);
        VM.expectRevert(abi.encodeWithSelector(ITransactionLock.InvalidCounterpart.selector, address(0)));
        lock.addRoute(ITransactionLock.Counterpart(id + 77, "genesis", address(0)), terms, 0);
        VM.stopPrank();
    }

    function test_allotmentIsSpreadOverTheBoxes() public view {
        ITransactionLock lock = chains[FIRST].lock;
        uint256 share = ALLOTMENT / lock.BOXES();
        for (uint256 i; i < lock.BOXES(); ++i) {
            uint256 expected = i == 0 ? ALLOTMENT - share * (lock.BOXES() - 1) : share;
            checkEqual(_balance(FIRST, lock.boxAt(i)), expected, "share of a box");
        }
    }
}
