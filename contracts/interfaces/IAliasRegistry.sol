// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

/// @title IAliasRegistry
/// @notice Who an alias stands for on this chain. Transfers between the chains name aliases only, so that no address
/// of one chain ever appears on the other.
interface IAliasRegistry {
    /// @notice Thrown when `aliasId` is registered already, for `owner`.
    error AliasTaken(bytes20 aliasId, address owner);

    /// @notice Emitted when an alias is registered.
    event AliasRegistered(bytes20 indexed aliasId, address indexed owner);

    /// @notice Registers the caller's alias for `secret`. The secret becomes public here and is of no use to anyone
    /// else: with another caller it makes another alias.
    /// @param secret Any 32 random bytes; an owner may register as many aliases as it likes.
    function register(bytes32 secret) external returns (bytes20 aliasId);

    /// @notice The owner of `aliasId`, zero where it is not registered.
    function ownerOf(bytes20 aliasId) external view returns (address owner);

    /// @notice The alias of `owner` for `secret`: the first 20 bytes of keccak256(abi.encode(owner, secret)).
    function aliasOf(address owner, bytes32 secret) external pure returns (bytes20 aliasId);
}
