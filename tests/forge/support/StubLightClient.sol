// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILightClient} from "../../../contracts/interfaces/ILightClient.sol";

/// @title StubLightClient
/// @notice Takes every header for the one that it was told of: a light client that tells no chain from another, as one
/// of seals that name no chain does where two chains share their validators.
contract StubLightClient is ILightClient {
    uint256 internal number;
    bytes32 internal stateRoot;

    function set(uint256 newNumber, bytes32 newStateRoot) external {
        (number, stateRoot) = (newNumber, newStateRoot);
    }

    /// @inheritdoc ILightClient
    function verifyHeader(bytes calldata header, bytes calldata) external view returns (uint256, bytes32, bytes32) {
        return (number, keccak256(header), stateRoot);
    }
}
