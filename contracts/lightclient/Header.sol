// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @title Header
/// @notice Reads the RLP of a block header of any fork: fifteen items since Frontier, more appended since London.
/// @dev The hash of the block is the keccak256 of the header (QBFT: of the header without its round and its seals).
/// Nothing here says that a header is sealed: read it only next to that check. The seven items up to the bloom have
/// fixed lengths, so fixed offsets. All items are checked to be strings, encoded in the shortest way, which fill the
/// header exactly. A header has at most 65,538 bytes.
///
/// Functions say `if … revert`: the compiler calls a function for every `require`, some 40 gas each.
library Header {
    /// @notice Thrown when the `length` bytes of the header are not, at `offset`, what a header has there.
    error HeaderMalformed(uint256 offset, uint256 length);

    /// @dev The offset of the state root, behind its prefix.
    uint256 internal constant STATE_ROOT = 91;

    /// @dev The offset, with its prefix, of the difficulty: the first item whose length varies.
    uint256 internal constant DIFFICULTY = 448;

    /// @dev Items of a header before London, the fewest there are.
    uint256 internal constant FEWEST_ITEMS = 15;

    /// @notice The block number and the state root in `header`.
    function read(bytes calldata header) internal pure returns (uint256 number, bytes32 stateRoot) {
        uint256 next;
        (number, stateRoot, next) = readNumber(header);

        unchecked {
            // Parent, ommers, coinbase, three roots, bloom, difficulty and number are behind.
            uint256 items = 9;
            for (; next < header.length; ++items) {
                uint256 prefix = uint256(_word(header, next)) >> 248;
                // The strings that no rule applies to here; {item} would take twice the gas.
                if (prefix < 0x80) ++next;
                else if (prefix < 0xb8 && prefix != 0x81) next += prefix - 0x7f;
                else (, next) = item(header, next);
            }
            if (next != header.length || items < FEWEST_ITEMS) revert HeaderMalformed(next, header.length);
        }
    }

    /// @notice The same, reading only up to the number; `next` is the offset of the gas limit, the item behind it.
    function readNumber(bytes calldata header) internal pure returns (uint256 number, bytes32 stateRoot, uint256 next) {
        unchecked {
            uint256 wrong;
            assembly ("memory-safe") {
                let start := header.offset
                // A list with two bytes of length, since the bloom alone is 256 bytes. The prefixes of parentHash,
                // ommersHash, coinbase, stateRoot, transactionsRoot, receiptsRoot and, of three bytes, logsBloom.
                let length := sub(header.length, 3)
                wrong := or(shr(16, length), xor(shr(232, calldataload(start)), add(0xf90000, length)))
                wrong := or(wrong, xor(byte(0, calldataload(add(start, 3))), 0xa0))
                wrong := or(wrong, xor(byte(0, calldataload(add(start, 36))), 0xa0))
                wrong := or(wrong, xor(byte(0, calldataload(add(start, 69))), 0x94))
                wrong := or(wrong, xor(byte(0, calldataload(add(start, 90))), 0xa0))
                wrong := or(wrong, xor(byte(0, calldataload(add(start, 123))), 0xa0))
                wrong := or(wrong, xor(byte(0, calldataload(add(start, 156))), 0xa0))
                wrong := or(wrong, xor(shr(232, calldataload(add(start, 189))), 0xb90100))
            }
            if (wrong != 0) revert HeaderMalformed(0, header.length);

            // All of this lies within the header if the difficulty behind it does.
            stateRoot = _word(header, STATE_ROOT);
            (, next) = _integer(header, DIFFICULTY, 32);
            (number, next) = _integer(header, next, 8);
        }
    }

    /// @notice The content `[content, next)` of the string at `offset` of `header`.
    function item(bytes calldata header, uint256 offset) internal pure returns (uint256 content, uint256 next) {
        unchecked {
            uint256 word = uint256(_word(header, offset));
            uint256 prefix = word >> 248;
            content = offset + 1;
            if (prefix < 0x80) {
                content = offset;
                next = offset + 1;
            } else if (prefix < 0xb8) {
                if (prefix == 0x81 && word << 8 >> 255 == 0) revert HeaderMalformed(offset, header.length);
                next = offset + (prefix - 0x7f);
            } else if (prefix == 0xb8) {
                ++content;
                next = content + (word << 8 >> 248);
                if (next < content + 56) revert HeaderMalformed(offset, header.length);
            } else {
                // Longer lengths do not fit a header, and a header has no lists.
                content += 2;
                next = content + (word << 8 >> 240);
                if (prefix != 0xb9 || next < content + 256) revert HeaderMalformed(offset, header.length);
            }

            // `next` is greater than `offset`, so an item that begins behind the header fails too.
            if (next > header.length) revert HeaderMalformed(offset, header.length);
        }
    }

    /// @dev The integer of at most `size` bytes, without leading zeros, in the item at `offset`.
    function _integer(bytes calldata header, uint256 offset, uint256 size)
        private
        pure
        returns (uint256 integer, uint256 next)
    {
        unchecked {
            uint256 content;
            (content, next) = item(header, offset);
            uint256 length = next - content;
            uint256 word = uint256(_word(header, content));
            if (length > size || (length != 0 && word >> 248 == 0)) revert HeaderMalformed(offset, header.length);

            // Shifted by 256, nothing is left of what follows an empty string: zero.
            integer = word >> (256 - 8 * length);
        }
    }

    function _word(bytes calldata header, uint256 offset) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := calldataload(add(header.offset, offset))
        }
    }
}
