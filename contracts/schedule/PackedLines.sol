// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @dev The largest loss a line may have (100%), in basis points.
uint256 constant MAX_LOSS = 10_000;

/// @title PackedLines
/// @notice The lines of one user: five a word, in ascending order, the first in the lowest bits, zero after the last.
///
/// A line is 48 bits: loss in basis points (15) · station (32) · suspended (1). So lines in the order of their numbers
/// are in the order of assignment: by loss, and those of equal losses by the registration of their stations.
library PackedLines {
    /// @dev Lines in a word.
    uint256 internal constant PER_WORD = 5;

    /// @dev Bits of a line.
    uint256 internal constant BITS = 48;

    uint256 internal constant MASK = (1 << BITS) - 1;

    /// @notice The line to `station` with `loss`, not suspended.
    function encode(uint32 station, uint16 loss) internal pure returns (uint256) {
        return uint256(loss) << 33 | uint256(station) << 1;
    }

    /// @notice The first line of a word, or 0.
    function first(uint256 word) internal pure returns (uint256) {
        return word & MASK;
    }

    /// @notice A word without its first line.
    function rest(uint256 word) internal pure returns (uint256) {
        return word >> BITS;
    }

    /// @notice Whether another word may follow this one.
    function isFull(uint256 word) internal pure returns (bool) {
        return word >> (PER_WORD - 1) * BITS != 0;
    }

    function stationIn(uint256 line) internal pure returns (uint32) {
        // 32 bits from bit 1 on
        return uint32(line >> 1);
    }

    function lossIn(uint256 line) internal pure returns (uint16) {
        // a line has 48 bits
        return uint16(line >> 33);
    }

    /// @notice The line, suspended if it was not and restored if it was.
    function toggled(uint256 line) internal pure returns (uint256) {
        return line ^ 1;
    }

    function isSuspended(uint256 line) internal pure returns (bool) {
        return line & 1 != 0;
    }

    /// @notice The lines, in order, in an array with room for `extra` more.
    function load(mapping(uint256 index => uint256) storage self, uint256 extra)
        internal
        view
        returns (uint256[] memory lines, uint256 count)
    {
        uint256 words;
        while (isFull(self[words])) ++words;

        lines = new uint256[]((words + 1) * PER_WORD + extra);
        for (uint256 i; i <= words; ++i) {
            for (uint256 word = self[i]; word != 0; word = rest(word)) {
                lines[count++] = first(word);
            }
        }
    }

    /// @notice Writes the first `count` of `lines` back, where there were `previous`.
    function store(
        mapping(uint256 index => uint256) storage self,
        uint256[] memory lines,
        uint256 count,
        uint256 previous
    ) internal {
        uint256 most = previous > count ? previous : count;
        for (uint256 from; from < most; from += PER_WORD) {
            uint256 word;
            for (uint256 i; i < PER_WORD && from + i < count; ++i) {
                word |= lines[from + i] << i * BITS;
            }
            uint256 index = from / PER_WORD;
            if (self[index] != word) self[index] = word;
        }
    }

    /// @notice Where the line to `station` is among the first `count`; `count` where there is none.
    function find(uint256[] memory lines, uint256 count, uint32 station) internal pure returns (uint256 place) {
        while (place < count && stationIn(lines[place]) != station) ++place;
    }

    /// @notice Puts `line` where it belongs among the first `count`. There must be room.
    function insert(uint256[] memory lines, uint256 count, uint256 line) internal pure {
        uint256 place = count;
        for (; place != 0 && lines[place - 1] > line; --place) {
            lines[place] = lines[place - 1];
        }
        lines[place] = line;
    }

    /// @notice Takes the line at `place` from the first `count`.
    function remove(uint256[] memory lines, uint256 count, uint256 place) internal pure returns (uint256 line) {
        line = lines[place];
        for (++place; place < count; ++place) {
            lines[place - 1] = lines[place];
        }
    }
}
