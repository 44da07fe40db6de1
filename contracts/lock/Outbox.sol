// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {Purpose} from "../interfaces/ITransactionLock.sol";

/// @dev One conversion between the chains.
struct Transfer {
    bytes20 recipient;
    uint96 lots;
    bytes20 refund;
    /// The block of the source chain that locked it.
    uint40 blockNumber;
    /// Unix seconds of the destination's block time; 0 for none.
    uint40 deadline;
    Purpose purpose;
}

/// @title Outbox
/// @notice The rolling hash over the transfers of a route and their packed form, see {ITransactionLock}.
library Outbox {
    /// @dev Bytes of a packed transfer.
    uint256 internal constant TRANSFER_SIZE = 64;

    /// @dev Transfers from one checkpoint to the next.
    uint256 internal constant CHECKPOINT_INTERVAL = 256;

    /// @notice `outbox[0]`: binds the outbox to its route, so that nothing replays on another route, after a
    /// redeployment or on a dev chain that started again.
    function seed(
        uint256 sourceChainId,
        bytes32 sourceGenesisHash,
        address sourceLock,
        uint256 destinationChainId,
        address destinationLock
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(sourceChainId, sourceGenesisHash, sourceLock, destinationChainId, destinationLock));
    }

    /// @notice The two words of a transfer.
    function pack(Transfer memory transfer) internal pure returns (bytes32 word1, bytes32 word2) {
        word1 = bytes32(transfer.recipient) | bytes32(uint256(transfer.lots));
        word2 = bytes32(transfer.refund) | bytes32(uint256(transfer.blockNumber) << 56)
            | bytes32(uint256(transfer.deadline) << 16) | bytes32(uint256(transfer.purpose) << 8);
    }

    /// @notice The outbox after one more transfer.
    function append(bytes32 outbox, bytes32 word1, bytes32 word2) internal pure returns (bytes32 next) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, outbox)
            mstore(add(free, 0x20), word1)
            mstore(add(free, 0x40), word2)
            next := keccak256(free, 0x60)
        }
    }

    /// @notice The outbox after the transfers `[first, last)` of `transfers`, which must hold them.
    function extend(bytes32 outbox, bytes calldata transfers, uint256 first, uint256 last)
        internal
        pure
        returns (bytes32 next)
    {
        next = outbox;
        assembly ("memory-safe") {
            let free := mload(0x40)
            let end := add(transfers.offset, shl(6, last))
            for { let offset := add(transfers.offset, shl(6, first)) } lt(offset, end) { offset := add(offset, 0x40) } {
                mstore(free, next)
                calldatacopy(add(free, 0x20), offset, 0x40)
                next := keccak256(free, 0x60)
            }
        }
    }

    /// @notice The words of transfer `index` in `transfers`, which must hold it.
    function wordsAt(bytes calldata transfers, uint256 index) internal pure returns (bytes32 word1, bytes32 word2) {
        assembly ("memory-safe") {
            let offset := add(transfers.offset, shl(6, index))
            word1 := calldataload(offset)
            word2 := calldataload(add(offset, 0x20))
        }
    }

    /// @notice The alias in the upper 20 bytes of either word.
    function aliasIn(bytes32 word) internal pure returns (bytes20) {
        return bytes20(word);
    }

    function lotsIn(bytes32 word1) internal pure returns (uint256) {
        return uint96(uint256(word1));
    }

    function blockNumberIn(bytes32 word2) internal pure returns (uint256) {
        return uint40(uint256(word2) >> 56);
    }

    function deadlineIn(bytes32 word2) internal pure returns (uint256) {
        return uint40(uint256(word2) >> 16);
    }

    /// @dev A value beyond the known purposes, which no lock of ours writes, reads as a conversion: refusing it would
    /// block the inbox.
    function purposeIn(bytes32 word2) internal pure returns (Purpose purpose) {
        uint256 max = uint256(type(Purpose).max);
        assembly ("memory-safe") {
            let value := byte(30, word2)
            purpose := mul(value, iszero(gt(value, max)))
        }
    }
}
