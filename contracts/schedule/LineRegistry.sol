// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DelayedAccess} from "../access/DelayedAccess.sol";
import {ILineRegistry} from "../interfaces/ILineRegistry.sol";
import {IStationRegistry} from "../interfaces/IStationRegistry.sol";
import {MAX_LOSS, PackedLines} from "./PackedLines.sol";

/// @title LineRegistry
/// @notice See {ILineRegistry}.
/// @dev Edits work on a copy in memory, a line an element.
contract LineRegistry is ILineRegistry, DelayedAccess {
    using PackedLines for mapping(uint256 => uint256);
    using PackedLines for uint256;

    /// @inheritdoc ILineRegistry
    address public immutable DISPATCH = msg.sender;

    mapping(address user => mapping(uint256 index => uint256)) internal _words;

    constructor(address manager) DelayedAccess(manager) {}

    /* VIEWS */

    /// @inheritdoc ILineRegistry
    function wordOf(address user, uint256 index) external view returns (uint256) {
        return _words[user][index];
    }

    /// @inheritdoc ILineRegistry
    function linesOf(address user) external view returns (Line[] memory all) {
        (uint256[] memory lines, uint256 count) = _words[user].load(0);
        all = new Line[](count);
        for (uint256 i; i < count; ++i) {
            all[i] = Line(lines[i].stationIn(), lines[i].lossIn(), lines[i].isSuspended());
        }
    }

    /* LINES */

    /// @inheritdoc ILineRegistry
    function setLines(address user, LineTerms[] calldata terms) external restricted {
        uint256 stations = IStationRegistry(DISPATCH).stationCount();
        (uint256[] memory lines, uint256 previous) = _words[user].load(terms.length);
        uint256 count = previous;
        for (uint256 i; i < terms.length; ++i) {
            (uint32 station, uint16 loss) = (terms[i].station, terms[i].loss);
            require(station != 0 && station <= stations, UnknownStation(station));
            require(loss <= MAX_LOSS, InvalidLoss(loss, MAX_LOSS));

            uint256 line = PackedLines.encode(station, loss);
            uint256 place = PackedLines.find(lines, count, station);
            if (place != count) {
                if (PackedLines.remove(lines, count--, place).isSuspended()) line = line.toggled();
            }
            PackedLines.insert(lines, count++, line);

            emit LineSet(user, station, loss);
        }

        _words[user].store(lines, count, previous);
    }

    /// @inheritdoc ILineRegistry
    function removeLine(address user, uint32 station) external restricted {
        (uint256[] memory lines, uint256 count, uint256 place) = _find(user, station);
        require(place != count, UnknownLine(user, station));

        PackedLines.remove(lines, count, place);
        _words[user].store(lines, count - 1, count);

        emit LineRemoved(user, station);
    }

    /* DISPUTES */

    /// @inheritdoc ILineRegistry
    function suspend(address user, uint32 station) external {
        require(msg.sender == DISPATCH, NotTheDispatch(msg.sender, DISPATCH));

        (uint256[] memory lines, uint256 count, uint256 place) = _find(user, station);
        if (place == count || lines[place].isSuspended()) return;

        lines[place] = lines[place].toggled();
        _words[user].store(lines, count, count);

        emit LineSuspended(user, station);
    }

    /// @inheritdoc ILineRegistry
    function restoreLine(address user, uint32 station) external restricted {
        (uint256[] memory lines, uint256 count, uint256 place) = _find(user, station);
        require(place != count, UnknownLine(user, station));
        require(lines[place].isSuspended(), LineNotSuspended(user, station));

        lines[place] = lines[place].toggled();
        _words[user].store(lines, count, count);

        emit LineRestored(user, station);
    }

    function _find(address user, uint32 station)
        internal
        view
        returns (uint256[] memory lines, uint256 count, uint256 place)
    {
        (lines, count) = _words[user].load(0);
        place = PackedLines.find(lines, count, station);
    }
}
