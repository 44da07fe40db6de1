// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @title SyntheticState
/// @notice Block headers and proofs of a world state that holds one account with one storage slot. forge has no
/// `eth_getProof`; a trie of one leaf is a real trie, and its proof a real proof of inclusion.
library SyntheticState {
    /// @dev keccak256 of no code; the account's code hash is not read by anyone.
    bytes32 private constant NO_CODE = 0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470;

    /// @notice The two proofs of `word` in `slot` of `account`, and the state root that they hang on.
    function prove(address account, bytes32 slot, bytes32 word)
        internal
        pure
        returns (bytes32 stateRoot, bytes memory accountProof, bytes memory storageProof)
    {
        storageProof = _leaf(keccak256(abi.encode(slot)), _integer(uint256(word)));
        accountProof = _leaf(
            keccak256(abi.encodePacked(account)),
            abi.encodePacked(hex"f8440180a0", keccak256(storageProof), hex"a0", NO_CODE)
        );
        stateRoot = keccak256(accountProof);
    }

    /// @notice A header with the 21 items of Prague.
    /// @param salt Its parent hash, to tell apart headers that are otherwise the same.
    function header(bytes32 salt, uint256 number, bytes32 stateRoot) internal pure returns (bytes memory) {
        bytes memory items = abi.encodePacked(
            hex"a0",
            salt,
            abi.encodePacked(hex"a0", bytes32(0), hex"94", bytes20(0), hex"a0", stateRoot),
            abi.encodePacked(hex"a0", bytes32(0), hex"a0", bytes32(0), hex"b90100", new bytes(256)),
            hex"80",
            _integer(number),
            // gas limit, gas used, timestamp, extra data, mix hash
            abi.encodePacked(hex"8401c9c38080846553f10080a0", bytes32(0)),
            // nonce, base fee, withdrawals root
            abi.encodePacked(hex"88", bytes8(0), hex"07a0", bytes32(0)),
            // blob gas used, excess blob gas, beacon root, requests hash
            abi.encodePacked(hex"8080a0", bytes32(0), hex"a0", bytes32(0))
        );
        return abi.encodePacked(hex"f9", uint16(items.length), items);
    }

    /// @dev A leaf whose path is all of `path`.
    function _leaf(bytes32 path, bytes memory value) private pure returns (bytes memory) {
        bytes memory encoded = _string(value);
        uint256 length = 34 + encoded.length;
        return length < 56
            ? abi.encodePacked(uint8(0xc0 + length), hex"a120", path, encoded)
            : abi.encodePacked(hex"f8", uint8(length), hex"a120", path, encoded);
    }

    /// @dev The RLP of a string of less than 256 bytes.
    function _string(bytes memory content) private pure returns (bytes memory) {
        if (content.length == 1 && uint8(content[0]) < 0x80) return content;
        return content.length < 56
            ? abi.encodePacked(uint8(0x80 + content.length), content)
            : abi.encodePacked(hex"b8", uint8(content.length), content);
    }

    /// @dev The RLP of an integer: its big-endian bytes without leading zeros.
    function _integer(uint256 integer) private pure returns (bytes memory) {
        uint256 size;
        while (size < 32 && integer >> (8 * size) != 0) ++size;
        bytes memory content = abi.encodePacked(integer << (8 * (32 - size)));
        assembly ("memory-safe") {
            mstore(content, size)
        }
        return _string(content);
    }
}
