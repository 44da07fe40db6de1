// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITransactionLock, Purpose} from "../interfaces/ITransactionLock.sol";
import {Outbox, Transfer} from "../lock/Outbox.sol";

/// @notice For tests: the library {Outbox}, callable.
contract OutboxHarness {
    using Outbox for bytes32;
    using Outbox for bytes;

    function seed(ITransactionLock.Counterpart calldata source, ITransactionLock.Counterpart calldata destination)
        external
        pure
        returns (bytes32)
    {
        return Outbox.seed(source.chainId, source.genesisHash, source.lock, destination.chainId, destination.lock);
    }

    function pack(Transfer calldata transfer) external pure returns (bytes32 word1, bytes32 word2) {
        return Outbox.pack(transfer);
    }

    /// @notice What the library reads back from the words of a transfer.
    function unpack(bytes32 word1, bytes32 word2) external pure returns (Transfer memory) {
        return Transfer(
            word1.aliasIn(),
            uint96(word1.lotsIn()),
            word2.aliasIn(),
            uint40(word2.blockNumberIn()),
            uint40(word2.deadlineIn()),
            word2.purposeIn()
        );
    }

    /// @notice The outbox after all packed `transfers`.
    function append(bytes32 outbox, bytes calldata transfers) external pure returns (bytes32) {
        for (uint256 i; i < transfers.length / Outbox.TRANSFER_SIZE; ++i) {
            (bytes32 word1, bytes32 word2) = transfers.wordsAt(i);
            outbox = outbox.append(word1, word2);
        }
        return outbox;
    }

    function purposeIn(bytes32 word2) external pure returns (Purpose) {
        return word2.purposeIn();
    }
}
