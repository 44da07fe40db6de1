// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAliasRegistry} from "../interfaces/IAliasRegistry.sol";

/// @title AliasRegistry
/// @notice See {IAliasRegistry}.
/// @dev A contract of its own: a mapping that grows inside the lock would lengthen every storage proof of its outbox.
/// Only a caller can register, and the token, the lock and its boxes never call here, so they are never recipients.
contract AliasRegistry is IAliasRegistry {
    /// @inheritdoc IAliasRegistry
    mapping(bytes20 aliasId => address) public ownerOf;

    /// @inheritdoc IAliasRegistry
    function register(bytes32 secret) external returns (bytes20 aliasId) {
        aliasId = aliasOf(msg.sender, secret);
        require(ownerOf[aliasId] == address(0), AliasTaken(aliasId, ownerOf[aliasId]));

        ownerOf[aliasId] = msg.sender;

        emit AliasRegistered(aliasId, msg.sender);
    }

    /// @inheritdoc IAliasRegistry
    function aliasOf(address owner, bytes32 secret) public pure returns (bytes20) {
        return bytes20(keccak256(abi.encode(owner, secret)));
    }
}
