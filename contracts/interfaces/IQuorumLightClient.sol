// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

import {ILightClient} from "./ILightClient.sol";

/// @title IQuorumLightClient
/// @notice A header is sealed when ceil(2n/3) of n registered sealers signed its hash (EIP-712). For chains whose
/// headers carry no seals of their own.
/// @dev A seal is `n (1 byte) · n sealers (20 bytes each, ascending) · signatures`, a signature being
/// `index of the sealer (1 byte) · r (32) · s (32) · v (1)`, in ascending order of the index.
///
/// Trust. Safety: fewer than a third of the sealers sign a header that their own node does not hold canonical.
/// Liveness: ceil(2n/3) sealers answer.
interface IQuorumLightClient is ILightClient {
    /// @notice Thrown when the sealers listed in a seal are not the registered ones.
    error SealerSetMismatch(bytes32 actual, bytes32 expected);

    /// @notice Thrown when `actual` sealers signed and `required` must.
    error InsufficientQuorum(uint256 actual, uint256 required);

    /// @notice Thrown when the signature at `index` comes from `signer`, not from the `sealer` registered there.
    error InvalidSeal(uint256 index, address signer, address sealer);

    /// @notice Thrown when a signature is by sealer `index` where none below `lowest` may follow: signatures come in
    /// strictly ascending order of their sealers.
    error SealsNotAscending(uint256 index, uint256 lowest);

    /// @notice Thrown when a seal names sealer `index` of a set of `count`.
    error SealerIndexOutOfRange(uint256 index, uint256 count);

    /// @notice Thrown when a seal of `length` bytes cannot be cut into sealers and signatures.
    error MalformedSeal(uint256 length);

    /// @notice Thrown when a set of `count` sealers is registered; it must have from 1 to `max`.
    error InvalidSealerCount(uint256 count, uint256 max);

    /// @notice Thrown when sealers are not registered in strictly ascending order.
    error SealersNotAscending(address previous, address next);

    /// @notice Emitted when the set of sealers changes.
    event SealersChanged(address[] sealers, uint256 quorum);

    /// @notice The chain whose headers are sealed.
    function SOURCE_CHAIN_ID() external view returns (uint256);

    /// @notice The hash of that chain's block 0.
    function SOURCE_GENESIS_HASH() external view returns (bytes32);

    /// @notice The EIP-712 domain of the signatures: name, version, source chain id, and the genesis hash as salt.
    function DOMAIN_SEPARATOR() external view returns (bytes32);

    /// @notice keccak256 of `n (1 byte) · n sealers (20 bytes each)`.
    function sealersHash() external view returns (bytes32);

    /// @notice The registered sealers, ascending.
    function sealers() external view returns (address[] memory);

    /// @notice How many of the sealers must sign: ceil(2n/3).
    function quorum() external view returns (uint256);

    /// @notice What a sealer signs for the block `blockHash`.
    function digest(bytes32 blockHash) external view returns (bytes32);

    /// @notice Replaces the set of sealers. Only after the delay of the caller's role.
    /// @param newSealers From 1 to 255 addresses, strictly ascending.
    function setSealers(address[] calldata newSealers) external;
}
