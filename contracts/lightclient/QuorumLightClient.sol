// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {ILightClient} from "../interfaces/ILightClient.sol";
import {IQuorumLightClient} from "../interfaces/IQuorumLightClient.sol";
import {DelayedAccess} from "../access/DelayedAccess.sol";
import {Header} from "./Header.sol";

/// @title QuorumLightClient
/// @notice See {IQuorumLightClient}.
/// @dev The set is kept as a hash and comes with every seal: reading it back costs one slot however large it is.
contract QuorumLightClient is IQuorumLightClient, DelayedAccess {
    /// @dev The largest set: a sealer's index is one byte and the count too.
    uint256 internal constant MAX_SEALERS = 255;

    /// @dev Bytes of one address in a seal.
    uint256 internal constant SEALER_SIZE = 20;

    /// @dev Bytes of one signature in a seal: index, r, s, v.
    uint256 internal constant SIGNATURE_SIZE = 66;

    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,bytes32 salt)");

    bytes32 internal constant SEALED_HEADER_TYPEHASH = keccak256("SealedHeader(bytes32 blockHash)");

    /// @inheritdoc IQuorumLightClient
    uint256 public immutable SOURCE_CHAIN_ID;

    /// @inheritdoc IQuorumLightClient
    bytes32 public immutable SOURCE_GENESIS_HASH;

    /// @inheritdoc IQuorumLightClient
    bytes32 public immutable DOMAIN_SEPARATOR;

    /// @inheritdoc IQuorumLightClient
    bytes32 public sealersHash;

    address[] internal _sealers;

    constructor(address manager, uint256 sourceChainId, bytes32 sourceGenesisHash, address[] memory initialSealers)
        DelayedAccess(manager)
    {
        SOURCE_CHAIN_ID = sourceChainId;
        SOURCE_GENESIS_HASH = sourceGenesisHash;
        DOMAIN_SEPARATOR = keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256("energyshare sealer"), keccak256("1"), sourceChainId, sourceGenesisHash
            )
        );

        _setSealers(initialSealers);
    }

    /* HEADERS */

    /// @inheritdoc ILightClient
    function verifyHeader(bytes calldata header, bytes calldata seal)
        external
        view
        returns (uint256 number, bytes32 blockHash, bytes32 stateRoot)
    {
        blockHash = keccak256(header);
        _checkSeal(digest(blockHash), seal);

        (number, stateRoot) = Header.read(header);
    }

    /// @inheritdoc IQuorumLightClient
    function digest(bytes32 blockHash) public view returns (bytes32) {
        return
            MessageHashUtils.toTypedDataHash(DOMAIN_SEPARATOR, keccak256(abi.encode(SEALED_HEADER_TYPEHASH, blockHash)));
    }

    /// @dev One pass over the signatures: each is held to the sealer at its own index, and indices ascend, so no
    /// sealer counts twice and the cost is linear.
    function _checkSeal(bytes32 signedDigest, bytes calldata seal) internal view {
        require(seal.length != 0, MalformedSeal(0));
        uint256 count = uint8(seal[0]);
        uint256 listEnd = 1 + count * SEALER_SIZE;
        require(seal.length >= listEnd && (seal.length - listEnd) % SIGNATURE_SIZE == 0, MalformedSeal(seal.length));

        bytes32 listHash = keccak256(seal[:listEnd]);
        require(listHash == sealersHash, SealerSetMismatch(listHash, sealersHash));

        uint256 signatures = (seal.length - listEnd) / SIGNATURE_SIZE;
        require(signatures >= _quorum(count), InsufficientQuorum(signatures, _quorum(count)));

        uint256 next; // the lowest index that the next signature may have
        for (uint256 offset = listEnd; offset != seal.length; offset += SIGNATURE_SIZE) {
            uint256 index = uint8(seal[offset]);
            require(index < count, SealerIndexOutOfRange(index, count));
            require(index >= next, SealsNotAscending(index, next));
            next = index + 1;

            address sealer = address(bytes20(seal[1 + index * SEALER_SIZE:]));
            (address signer,,) = ECDSA.tryRecover(
                signedDigest, uint8(seal[offset + 65]), bytes32(seal[offset + 1:]), bytes32(seal[offset + 33:])
            );
            // No registered sealer is the zero address that a failed recovery yields.
            require(signer == sealer, InvalidSeal(index, signer, sealer));
        }
    }

    /* SEALERS */

    /// @inheritdoc IQuorumLightClient
    function setSealers(address[] calldata newSealers) external delayed {
        _setSealers(newSealers);
    }

    /// @inheritdoc IQuorumLightClient
    function sealers() external view returns (address[] memory) {
        return _sealers;
    }

    /// @inheritdoc IQuorumLightClient
    function quorum() external view returns (uint256) {
        return _quorum(_sealers.length);
    }

    function _setSealers(address[] memory newSealers) internal {
        uint256 count = newSealers.length;
        require(count != 0 && count <= MAX_SEALERS, InvalidSealerCount(count, MAX_SEALERS));

        // count <= 255
        bytes memory list = abi.encodePacked(uint8(count));
        address previous;
        for (uint256 i; i < count; ++i) {
            require(newSealers[i] > previous, SealersNotAscending(previous, newSealers[i]));
            previous = newSealers[i];
            list = abi.encodePacked(list, previous);
        }

        sealersHash = keccak256(list);
        _sealers = newSealers;

        emit SealersChanged(newSealers, _quorum(count));
    }

    /// @dev ceil(2n/3), and so never 0 for a set that is not empty.
    function _quorum(uint256 count) internal pure returns (uint256) {
        return (2 * count + 2) / 3;
    }
}
