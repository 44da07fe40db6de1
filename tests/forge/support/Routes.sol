// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITransactionLock} from "../../../contracts/interfaces/ITransactionLock.sol";
import {Network, SUPPLY, TRANSACTION} from "./Network.sol";
import {VM, Vm} from "./Vm.sol";

/// @title Routes
/// @notice A transaction chain with routes to two scheduling chains at lots 1:1, two users, and a relayer that reads
/// the events: where the attacks begin.
abstract contract Routes is Network {
    uint256 internal constant FIRST = 1;
    uint256 internal constant SECOND = 2;
    uint16 internal constant CONFIRMATIONS = 6;
    uint104 internal constant ALLOTMENT = 100_000;
    uint256 internal constant FUNDS = 1_000;

    address internal alice = address(0xA11CE);
    address internal bob = address(0xB0B);

    /// @dev Each one's alias for the secret 1, registered on every chain.
    bytes20 internal aliasOfAlice = bytes20(keccak256(abi.encode(alice, uint256(1))));
    bytes20 internal aliasOfBob = bytes20(keccak256(abi.encode(bob, uint256(1))));

    /// @dev Alice's alias for the secret 2, registered nowhere.
    bytes20 internal unknownAlias = bytes20(keccak256(abi.encode(alice, uint256(2))));

    /// @dev The transfers of each outbox, as the events gave them.
    mapping(address lock => mapping(bytes32 route => bytes)) internal outgoing;
    mapping(address lock => mapping(bytes32 route => bytes32)) internal seeds;

    function setUp() public virtual {
        VM.recordLogs();
        for (uint256 chain; chain <= SECOND; ++chain) {
            _addChain(4);
        }
        _addMarket();
        _issue(COMPANY, 2 * SUPPLY + 10 * FUNDS);
        for (uint256 chain = FIRST; chain <= SECOND; ++chain) {
            _addRoute(TRANSACTION, chain, CONFIRMATIONS, 1, 1, uint104(SUPPLY) - ALLOTMENT);
            _addRoute(chain, TRANSACTION, CONFIRMATIONS, 1, 1, ALLOTMENT);
            seeds[address(chains[TRANSACTION].lock)][_routeTo(chain)] = _state(TRANSACTION, chain).outbox;
            seeds[address(chains[chain].lock)][_routeTo(TRANSACTION)] = _state(chain, TRANSACTION).outbox;
        }
        for (uint256 chain; chain <= SECOND; ++chain) {
            _welcome(chain, alice);
            _welcome(chain, bob);
        }
    }

    function _welcome(uint256 chain, address user) private {
        VM.prank(COMPANY);
        chains[chain].asset.transfer(user, FUNDS);
        VM.startPrank(user);
        chains[chain].asset.approve(address(chains[chain].lock), type(uint256).max);
        chains[chain].aliases.register(bytes32(uint256(1)));
        VM.stopPrank();
    }

    /* LOCKING */

    function _lock(uint256 from, uint256 to, address user, uint256 amount, bytes20 recipient, bytes20 refund)
        internal
        returns (uint256 position)
    {
        return _lock(from, to, user, amount, recipient, refund, 0);
    }

    function _lock(
        uint256 from,
        uint256 to,
        address user,
        uint256 amount,
        bytes20 recipient,
        bytes20 refund,
        uint40 deadline
    ) internal returns (uint256 position) {
        _enter(from);
        bytes32 route = _routeTo(to);
        VM.prank(user);
        return chains[from].lock.lock(route, amount, recipient, refund, deadline);
    }

    /* RELAYING */

    /// @dev Reads the events so far.
    function _collect() internal {
        Vm.Log[] memory logs = VM.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != ITransactionLock.Locked.selector) continue;
            bytes storage transfers = outgoing[logs[i].emitter][logs[i].topics[1]];
            for (uint256 j; j < logs[i].data.length; ++j) {
                transfers.push(logs[i].data[j]);
            }
        }
    }

    /// @dev The packet with everything that chain `from` has sent to chain `to`, confirmed.
    function _everything(uint256 from, uint256 to) internal returns (ITransactionLock.Packet memory packet) {
        _collect();
        _advance(from, CONFIRMATIONS + 1);
        packet = _packet(to, from, chains[from].number - 1, 0, _state(from, to).outbox);
        packet.transfers = outgoing[address(chains[from].lock)][_routeTo(to)];
        packet.outbox = seeds[address(chains[from].lock)][_routeTo(to)];
    }

    /// @dev Delivers it.
    function _relay(uint256 from, uint256 to) internal returns (uint256 processed) {
        ITransactionLock.Packet memory packet = _everything(from, to);
        _enter(to);
        return chains[to].lock.deliver(_routeTo(from), packet);
    }

    /// @dev A packet of one transfer that the lock of `from` never wrote, but its sealers vouch for. Only as long as
    /// nothing honest was sent.
    function _forged(uint256 from, uint256 to, bytes32 word1, bytes32 word2)
        internal
        returns (ITransactionLock.Packet memory packet)
    {
        _advance(from, CONFIRMATIONS + 1);
        bytes32 seed = seeds[address(chains[from].lock)][_routeTo(to)];
        packet = _packet(to, from, chains[from].number - 1, 0, keccak256(abi.encode(seed, word1, word2)));
        packet.outbox = seed;
        packet.transfers = abi.encode(word1, word2);
    }

    /* OBSERVING */

    function _balance(uint256 chain, address owner) internal view returns (uint256) {
        return chains[chain].asset.balanceOf(owner);
    }

    function _boxed(uint256 chain) internal view returns (uint256 amount) {
        for (uint256 i; i < chains[chain].lock.BOXES(); ++i) {
            amount += chains[chain].asset.balanceOf(chains[chain].lock.boxAt(i));
        }
    }
}
