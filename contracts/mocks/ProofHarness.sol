// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {BlockHeader} from "@openzeppelin/contracts/utils/BlockHeader.sol";
import {Memory} from "@openzeppelin/contracts/utils/Memory.sol";
import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";
import {TrieProof} from "@openzeppelin/contracts/utils/cryptography/TrieProof.sol";

import {Header} from "../lightclient/Header.sol";
import {StateProof} from "../lightclient/StateProof.sol";

/// @notice For tests: {StateProof} and {Header} beside OpenZeppelin's, many cases in one call.
contract ProofHarness {
    using RLP for Memory.Slice;

    struct Case {
        bytes32 root;
        bytes32 path;
        /// The proof as `StateProof` takes it.
        bytes proof;
        /// The same nodes, an element each, as OpenZeppelin takes them.
        bytes[] nodes;
    }

    struct Outcome {
        bool accepted;
        /// The encoded result, or the revert data.
        bytes output;
    }

    /// @notice Thrown when a batch is too large: a case that ran out of gas would pass for a rejected one.
    error BatchTooLarge();

    /* OURS */

    function value(bytes32 root, bytes32 path, bytes calldata proof) external pure returns (bytes memory) {
        return StateProof.value(root, path, proof);
    }

    function storageRoot(bytes32 root, bytes32 path, bytes calldata proof) external pure returns (bytes32) {
        return StateProof.storageRoot(root, path, proof);
    }

    function storageValue(bytes32 root, bytes32 path, bytes calldata proof) external pure returns (bytes32) {
        return StateProof.storageValue(root, path, proof);
    }

    function header(bytes calldata encoded) external pure returns (uint256 number, bytes32 stateRoot) {
        return Header.read(encoded);
    }

    /// @notice The value by the bytes `[first, last)` of `data`: the caller chooses what surrounds the proof too.
    function valueWithin(bytes32 root, bytes32 path, bytes calldata data, uint256 first, uint256 last)
        external
        pure
        returns (bytes memory)
    {
        return StateProof.value(root, path, data[first:last]);
    }

    /// @notice The header in the bytes `[first, last)` of `data`.
    function headerWithin(bytes calldata data, uint256 first, uint256 last)
        external
        pure
        returns (uint256 number, bytes32 stateRoot)
    {
        return Header.read(data[first:last]);
    }

    /// @notice What {Header-readNumber} finds in the bytes `[first, last)` of `data`.
    function numberWithin(bytes calldata data, uint256 first, uint256 last)
        external
        pure
        returns (uint256 number, bytes32 stateRoot, uint256 next)
    {
        return Header.readNumber(data[first:last]);
    }

    /// @notice Whether reading a value leaves the allocated memory and the free memory pointer as they were.
    function keepsMemory(bytes32 root, bytes32 path, bytes calldata proof) external pure returns (bool kept) {
        bytes memory before = proof;
        uint256 free;
        uint256 freeAfter;
        assembly ("memory-safe") {
            free := mload(0x40)
        }

        StateProof.value(root, path, proof);

        assembly ("memory-safe") {
            freeAfter := mload(0x40)
        }
        return free == freeAfter && keccak256(before) == keccak256(proof);
    }

    /* OPENZEPPELIN'S */

    function peerValue(bytes32 root, bytes32 path, bytes[] memory nodes) public pure returns (bytes memory) {
        return TrieProof.traverse(root, bytes.concat(path), nodes);
    }

    function peerStorageRoot(bytes32 root, bytes32 path, bytes[] memory nodes) external pure returns (bytes32) {
        Memory.Slice[] memory account = RLP.decodeList(peerValue(root, path, nodes));
        require(account.length == 4, RLP.RLPInvalidEncoding());

        // Read as integers, which is all that OpenZeppelin's library checks of an account.
        account[0].readUint256();
        account[1].readUint256();
        account[3].readBytes32();
        return account[2].readBytes32();
    }

    function peerStorageValue(bytes32 root, bytes32 path, bytes[] memory nodes) external pure returns (bytes32) {
        return RLP.decodeBytes32(peerValue(root, path, nodes));
    }

    function peerHeader(bytes memory encoded) external pure returns (uint256 number, bytes32 stateRoot) {
        Memory.Slice[] memory fields = BlockHeader.parseHeader(encoded);
        return (BlockHeader.getNumber(fields), BlockHeader.getStateRoot(fields));
    }

    /* BATCHES */

    /// @notice Runs the getters `ours` and `peer` (`value`, `storageRoot` or `storageValue`) on every case.
    function runProofs(bytes4 ours, bytes4 peer, Case[] calldata cases)
        external
        view
        returns (Outcome[] memory own, Outcome[] memory theirs)
    {
        own = new Outcome[](cases.length);
        theirs = new Outcome[](cases.length);
        for (uint256 i; i < cases.length; ++i) {
            Case calldata given = cases[i];
            own[i] = _run(abi.encodeWithSelector(ours, given.root, given.path, given.proof));
            theirs[i] = _run(abi.encodeWithSelector(peer, given.root, given.path, given.nodes));
        }
    }

    /// @notice Runs `header` and `peerHeader` on every header.
    function runHeaders(bytes[] calldata headers)
        external
        view
        returns (Outcome[] memory own, Outcome[] memory theirs)
    {
        own = new Outcome[](headers.length);
        theirs = new Outcome[](headers.length);
        for (uint256 i; i < headers.length; ++i) {
            own[i] = _run(abi.encodeCall(this.header, (headers[i])));
            theirs[i] = _run(abi.encodeCall(this.peerHeader, (headers[i])));
        }
    }

    function _run(bytes memory call) private view returns (Outcome memory outcome) {
        (outcome.accepted, outcome.output) = address(this).staticcall(call);

        // A call that takes all the gas it gets leaves a 64th part.
        require(gasleft() > 1_000_000, BatchTooLarge());
    }

    /* GAS */

    /// @notice What one account proof and one storage proof under it cost, apart from their call data.
    function gasOfProofs(
        bytes32 stateRoot,
        bytes32 accountPath,
        bytes calldata account,
        bytes32 slotPath,
        bytes calldata slot
    ) external view returns (uint256 gasUsed) {
        uint256 before = gasleft();
        StateProof.storageValue(StateProof.storageRoot(stateRoot, accountPath, account), slotPath, slot);
        return before - gasleft();
    }

    /// @notice The same through OpenZeppelin's library; the proofs are in memory already.
    function peerGasOfProofs(
        bytes32 stateRoot,
        bytes32 accountPath,
        bytes[] memory account,
        bytes32 slotPath,
        bytes[] memory slot
    ) external view returns (uint256 gasUsed) {
        uint256 before = gasleft();
        bytes memory found = TrieProof.traverse(stateRoot, bytes.concat(accountPath), account);
        bytes32 root = RLP.decodeList(found)[2].readBytes32();
        RLP.decodeBytes32(TrieProof.traverse(root, bytes.concat(slotPath), slot));
        return before - gasleft();
    }

    function gasOfHeader(bytes calldata encoded) external view returns (uint256 gasUsed) {
        uint256 before = gasleft();
        Header.read(encoded);
        return before - gasleft();
    }

    function peerGasOfHeader(bytes memory encoded) external view returns (uint256 gasUsed) {
        uint256 before = gasleft();
        Memory.Slice[] memory fields = BlockHeader.parseHeader(encoded);
        BlockHeader.getNumber(fields);
        BlockHeader.getStateRoot(fields);
        return before - gasleft();
    }
}
