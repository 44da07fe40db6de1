// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @title StateProof
/// @notice Reads one value of an Ethereum state or storage trie out of a Merkle-Patricia proof of its inclusion.
/// @dev A proof is the RLP of the nodes from the root to the value, concatenated (RLP delimits itself) and nothing
/// else. A node shorter than 32 bytes is embedded in its parent and not repeated.
///
/// Trust: every node of the stream must hash to what its parent (or the caller) names, so whoever chooses the proof
/// chooses only how it is cut. Nothing else is left to that: lengths are held to the end of the enclosing node or of
/// the proof before anything inside is believed (call data past its end reads as zeros), nodes are told apart by the
/// number of their items, never by a prefix (the path of a leaf may begin with 0xa0, as a branch's child does), and
/// what no trie of 32-byte keys contains is rejected even where it would be harmless: encodings that are not the
/// shortest, a value inside a branch, a hash in place of a node that would be embedded, lengths over 65,535 bytes.
///
/// Inner functions say `if … revert`: the compiler calls a function for every `require`, some 40 gas each.
library StateProof {
    /// @notice Thrown when a node hashes to `actual` where its parent, or the root asked for, says `expected`.
    error ProofNodeMismatch(bytes32 expected, bytes32 actual);

    /// @notice Thrown when an item claims `needed` bytes of the `available` ones left of its node or of the proof.
    error ProofTruncated(uint256 needed, uint256 available);

    /// @notice Thrown when the bytes at `position` of the call data are not what a node has there.
    error ProofMalformed(uint256 position);

    /// @notice Thrown when the trie has nothing under `path`: the search ended around its nibble `depth`.
    error ProofPathMismatch(bytes32 path, uint256 depth);

    /// @notice Thrown when `excess` bytes follow the node that holds the value.
    error ProofExcess(uint256 excess);

    /// @notice Thrown when the value proven is not the RLP of an account `[nonce, balance, storageRoot, codeHash]`.
    error AccountMalformed(bytes account);

    /// @notice Thrown when the value proven is not the RLP of a storage word: an integer from 1 to 2^256 - 1.
    error StorageValueMalformed(bytes word);

    /// @dev Nibbles of a path: every key of the tries of the state is a 32-byte hash.
    uint256 private constant PATH_NIBBLES = 64;

    /// @dev A child by hash: the RLP prefix of a 32-byte string.
    uint256 private constant HASH = 0xa0;

    /// @dev No child, or an integer of zero: the RLP of the empty string.
    uint256 private constant EMPTY = 0x80;

    /// @dev The first RLP prefix of a list.
    uint256 private constant LIST = 0xc0;

    /// @dev The prefix of the longest list (31 bytes with its prefix) that is embedded rather than hashed.
    uint256 private constant LONGEST_EMBEDDED = 0xde;

    /// @notice The storage root of the account whose address hashes to `accountPath`, under `stateRoot`.
    function storageRoot(bytes32 stateRoot, bytes32 accountPath, bytes calldata proof)
        internal
        pure
        returns (bytes32 root)
    {
        bytes calldata account = value(stateRoot, accountPath, proof);
        uint256 position = _start(account);
        bool valid;

        unchecked {
            // 68 to 108 bytes of items: always a list with one byte of length. The two hashes are its last 66 bytes.
            uint256 hashes = position + account.length - 66;
            if (account.length >= 70 && _byte(position) == 0xf8 && _byte(position + 1) == account.length - 2) {
                (, uint256 balance) = _integer(position + 2, 8);
                (, uint256 next) = _integer(balance, 32);
                valid = balance != 0 && next == hashes && _byte(hashes) == HASH && _byte(hashes + 33) == HASH;
                root = _word(hashes + 1);
            }
        }

        require(valid, AccountMalformed(account));
    }

    /// @notice The word that the slot whose key hashes to `slotPath` holds, under an account's `storageRoot_`.
    /// @dev Never zero: a zeroed slot is not in the trie. Words are stored without their leading zero bytes.
    function storageValue(bytes32 storageRoot_, bytes32 slotPath, bytes calldata proof)
        internal
        pure
        returns (bytes32 word)
    {
        bytes calldata encoded = value(storageRoot_, slotPath, proof);
        uint256 position = _start(encoded);

        uint256 next;
        (word, next) = _integer(position, 32);
        unchecked {
            require(next == position + encoded.length && word != 0, StorageValueMalformed(encoded));
        }
    }

    /// @notice The value under `path` in the trie with the root `root`; never empty. In the tries of the state it is
    /// itself RLP.
    function value(bytes32 root, bytes32 path, bytes calldata proof) internal pure returns (bytes calldata found) {
        unchecked {
            uint256 end = _start(proof) + proof.length;
            // The items `[first, last)` of the node at hand, behind `depth` nibbles of the path; the next node of the
            // stream is at `cursor`.
            (uint256 first, uint256 last) = _node(_start(proof), end, root);
            uint256 cursor = last;
            uint256 depth;
            uint256 content;

            // Behind a branch at depth 64 or more nothing is found: {_follow} ends at 64 exactly or reverts.
            while (true) {
                uint256 nibble = uint256(path << (4 * depth)) >> 252;
                uint256 child = _hashedBranchChild(first, last, nibble);

                if (child != 0) {
                    ++depth;
                } else {
                    (uint256 partialPath, uint256 second) = _item(first, last);
                    uint256 third;
                    (content, third) = _item(second, last);

                    if (third != last) {
                        child = _branchChild(first, last, nibble);
                        ++depth;
                    } else {
                        if (_byte(first) >= LIST || partialPath == second) revert ProofMalformed(first);
                        bool leaf;
                        (leaf, depth) = _follow(path, depth, partialPath, second - partialPath);

                        if (leaf) {
                            if (_byte(second) >= LIST || content == last) revert ProofMalformed(second);
                            break;
                        }
                        child = second;
                    }
                }

                uint256 prefix = _byte(child);
                if (prefix == EMPTY) revert ProofPathMismatch(path, depth);
                if (prefix == HASH) {
                    (first, last) = _node(cursor, end, _word(child + 1));
                    cursor = last;
                } else {
                    if (prefix < LIST || prefix > LONGEST_EMBEDDED) revert ProofMalformed(child);
                    first = child + 1;
                    last = first + (prefix - LIST);
                }
            }

            require(cursor == end, ProofExcess(end - cursor));
            found = _slice(content, last - content);
        }
    }

    /* NODES */

    /// @dev The items `[first, last)` of the node at `position`, which must hash to `expected` and end by `end`.
    function _node(uint256 position, uint256 end, bytes32 expected) private pure returns (uint256 first, uint256 last) {
        (first, last) = _item(position, end);
        unchecked {
            if (_byte(position) < LIST || last - position < 32) revert ProofMalformed(position);
        }

        bytes32 actual;
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, position, sub(last, position))
            actual := keccak256(free, sub(last, position))
        }
        if (actual != expected) revert ProofNodeMismatch(expected, actual);
    }

    /// @dev Follows the partial path at `position` of a leaf or an extension: whether it is a leaf, and the depth
    /// behind it. Its first nibble says leaf (2) and odd (1); a zero nibble follows where the rest is even.
    function _follow(bytes32 path, uint256 depth, uint256 position, uint256 length)
        private
        pure
        returns (bool leaf, uint256 next)
    {
        unchecked {
            uint256 word = uint256(_word(position));
            uint256 flags = word >> 252;
            uint256 nibbles = 2 * length - 2;
            if (flags & 1 == 1) {
                ++nibbles;
                word <<= 4;
            } else {
                // Of the first byte only the flags may be set.
                if ((word >> 248) & 0x0f != 0) revert ProofMalformed(position);
                word = uint256(_word(position + 1));
            }

            leaf = flags > 1;
            next = depth + nibbles;
            if (flags > 3 || (nibbles == 0 && !leaf)) revert ProofMalformed(position);
            if (next > PATH_NIBBLES || (leaf && next != PATH_NIBBLES)) revert ProofPathMismatch(path, depth);
            // Shifted by 256, where no nibble is left to compare, everything is equal.
            if ((word ^ uint256(path << (4 * depth))) >> (256 - 4 * nibbles) != 0) {
                revert ProofPathMismatch(path, depth);
            }
        }
    }

    /// @dev The child `nibble` of the branch with the items `[first, last)`, if its children are hashes or empty and
    /// its value is empty; else 0, and the node may be anything.
    function _hashedBranchChild(uint256 first, uint256 last, uint256 nibble) private pure returns (uint256 child) {
        assembly ("memory-safe") {
            let size := sub(last, first)
            // 17 items, 32 bytes more for each hash.
            if eq(and(size, 31), 17) {
                let position := first
                // Collects the bits in which a prefix differs from what it should be.
                let wrong := 0

                switch size
                case 529 {
                    // Sixteen hashes: most nodes of a proof, at half the cost.
                    let hash := shl(248, 0xa0)
                    for { let end := sub(last, 1) } lt(position, end) {} {
                        wrong := or(wrong, xor(hash, calldataload(position)))
                        wrong := or(wrong, xor(hash, calldataload(add(position, 33))))
                        wrong := or(wrong, xor(hash, calldataload(add(position, 66))))
                        wrong := or(wrong, xor(hash, calldataload(add(position, 99))))
                        wrong := or(wrong, xor(hash, calldataload(add(position, 132))))
                        wrong := or(wrong, xor(hash, calldataload(add(position, 165))))
                        wrong := or(wrong, xor(hash, calldataload(add(position, 198))))
                        wrong := or(wrong, xor(hash, calldataload(add(position, 231))))
                        position := add(position, 264)
                    }
                    wrong := shr(248, wrong)
                    child := add(first, mul(33, nibble))
                }
                default {
                    // Empty is 0x80, a hash is 0xa0 and 32 bytes: the bit 0x20 alone is free, and is the length.
                    child := first
                    for { let i := 0 } lt(i, 16) {} {
                        let prefix := byte(0, calldataload(position))
                        let length := add(1, and(prefix, 0x20))
                        wrong := or(wrong, xor(prefix, 0x80))
                        position := add(position, length)
                        child := add(child, mul(length, lt(i, nibble)))
                        i := add(i, 1)

                        prefix := byte(0, calldataload(position))
                        length := add(1, and(prefix, 0x20))
                        wrong := or(wrong, xor(prefix, 0x80))
                        position := add(position, length)
                        child := add(child, mul(length, lt(i, nibble)))
                        i := add(i, 1)
                    }
                    wrong := and(wrong, 0xdf)
                }

                wrong := or(wrong, xor(byte(0, calldataload(position)), 0x80))
                wrong := or(wrong, xor(add(position, 1), last))
                child := mul(child, iszero(wrong))
            }
        }
    }

    /// @dev The same for any branch, whose children may also be embedded. Reverts if the node is none.
    function _branchChild(uint256 first, uint256 last, uint256 nibble) private pure returns (uint256 child) {
        unchecked {
            uint256 position = first;
            for (uint256 i; i < 16; ++i) {
                if (i == nibble) child = position;

                uint256 prefix = _byte(position);
                if (prefix == HASH) {
                    position += 33;
                } else if (prefix == EMPTY) {
                    ++position;
                } else {
                    if (prefix < LIST || prefix > LONGEST_EMBEDDED) revert ProofMalformed(position);
                    position += prefix - (LIST - 1);
                }
            }

            // Each child is at least a byte, so none of them reaches beyond `last` if this does not.
            if (position + 1 != last || _byte(position) != EMPTY) revert ProofMalformed(position);
        }
    }

    /* RLP */

    /// @dev The content `[content, next)` of the item at `position`, encoded in the shortest way and within `end`.
    function _item(uint256 position, uint256 end) private pure returns (uint256 content, uint256 next) {
        unchecked {
            if (position >= end) revert ProofTruncated(1, 0);

            uint256 word = uint256(_word(position));
            uint256 prefix = word >> 248;
            if (prefix < 0x80) return (position, position + 1);

            // Strings (0x80) and lists (0xc0) say up to 55 bytes in the prefix, then how many bytes the length has.
            content = position + 1;
            uint256 length = prefix & 0x3f;
            if (length < 56) {
                if (prefix == 0x81 && word << 8 >> 255 == 0) revert ProofMalformed(position);
            } else if (length == 56) {
                length = word << 8 >> 248;
                if (length < 56) revert ProofMalformed(position);
                ++content;
            } else {
                if (length > 57) revert ProofMalformed(position);
                length = word << 8 >> 240;
                if (length < 256) revert ProofMalformed(position);
                content += 2;
            }

            next = content + length;
            if (next > end) revert ProofTruncated(next - position, end - position);
        }
    }

    /// @dev The integer at `position` of at most `size` bytes, without leading zeros, and where it ends; 0, 0 if there
    /// is none. Its caller holds it to the end of what it is in.
    function _integer(uint256 position, uint256 size) private pure returns (bytes32 integer, uint256 next) {
        unchecked {
            uint256 prefix = _byte(position);
            if (prefix <= EMPTY) return prefix == 0 ? (bytes32(0), 0) : (bytes32(prefix & 0x7f), position + 1);

            uint256 length = prefix - 0x80;
            if (length > size) return (0, 0);
            uint256 content = uint256(_word(position + 1));
            // A single byte below 0x80 is its own encoding.
            if (content >> (length == 1 ? 255 : 248) == 0) return (0, 0);
            return (bytes32(content >> (256 - 8 * length)), position + 1 + length);
        }
    }

    /* CALL DATA */

    function _start(bytes calldata data) private pure returns (uint256 position) {
        assembly ("memory-safe") {
            position := data.offset
        }
    }

    function _slice(uint256 position, uint256 length) private pure returns (bytes calldata data) {
        assembly ("memory-safe") {
            data.offset := position
            data.length := length
        }
    }

    function _byte(uint256 position) private pure returns (uint256 prefix) {
        assembly ("memory-safe") {
            prefix := byte(0, calldataload(position))
        }
    }

    function _word(uint256 position) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := calldataload(position)
        }
    }
}
