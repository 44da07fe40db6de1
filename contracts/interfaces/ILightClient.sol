// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

/// @title ILightClient
/// @notice Decides whether a block header of one source chain is sealed, that is, final in the eyes of that chain's
/// sealers. The lock believes what this contract says about the source chain and nothing else.
interface ILightClient {
    /// @notice Reverts unless `seal` seals `header`.
    /// @dev Not `view`: a client may take over a validator set that the header announces.
    /// @param header The header, RLP-encoded as the source chain hashes it.
    /// @param seal The proof of the seal; its encoding is the client's own.
    /// @return number The block's height.
    /// @return blockHash What identifies the block among those of its height.
    /// @return stateRoot The root of the state trie after the block.
    function verifyHeader(bytes calldata header, bytes calldata seal)
        external
        returns (uint256 number, bytes32 blockHash, bytes32 stateRoot);
}
