// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

/// @title ILineRegistry
/// @notice The lines between users and stations and what each loses: the other half of the station list. A user's are
/// kept in the order of assignment, by loss and then by the registration of their stations, so that the dispatch finds
/// the best one by reading from the first on, and so proves its choice.
///
/// Trust. The company draws the lines, as it knows the wires, and resolves their disputes; the dispatch, fixed at
/// deployment, suspends them.
interface ILineRegistry {
    /// @dev A line between a user and a station that energy can use.
    struct Line {
        uint32 station;
        /// Of what is sent, in basis points.
        uint16 loss;
        /// Passed over until a dispute over its meters is resolved.
        bool suspended;
    }

    /// @dev A line to be made, or whose loss is to change.
    struct LineTerms {
        uint32 station;
        uint16 loss;
    }

    /// @notice Thrown when `caller` suspends a line, and only `dispatch` may.
    error NotTheDispatch(address caller, address dispatch);

    /// @notice Thrown when a line would lead to a station that does not exist.
    error UnknownStation(uint32 station);

    /// @notice Thrown when a line would lose more than `max`.
    error InvalidLoss(uint256 loss, uint256 max);

    /// @notice Thrown when there is no line between the two.
    error UnknownLine(address user, uint32 station);

    /// @notice Thrown when a line to be restored is not suspended.
    error LineNotSuspended(address user, uint32 station);

    /// @notice Emitted when a line is made, or its loss changes.
    event LineSet(address indexed user, uint32 indexed station, uint256 loss);

    /// @notice Emitted when a line is taken away.
    event LineRemoved(address indexed user, uint32 indexed station);

    /// @notice Emitted when a dispute suspends a line.
    event LineSuspended(address indexed user, uint32 indexed station);

    /// @notice Emitted when the company has resolved the dispute of a line.
    event LineRestored(address indexed user, uint32 indexed station);

    /// @notice The dispatch whose stations the lines lead to.
    function DISPATCH() external view returns (address);

    /// @notice The lines of `user`, in the order of assignment.
    function linesOf(address user) external view returns (Line[] memory);

    /// @notice The lines of `user` from 5·index on, five at most, packed: loss (15 bits) · station (32) · suspended (1)
    /// each, the first in the lowest bits, zero after the last.
    function wordOf(address user, uint256 index) external view returns (uint256);

    /// @notice Makes lines of `user`, or changes their losses; a line that is suspended stays so. Only the company.
    function setLines(address user, LineTerms[] calldata terms) external;

    /// @notice Takes a line away. What is connected over it goes on until it is closed. Only the company.
    function removeLine(address user, uint32 station) external;

    /// @notice Ends a line's suspension. Only the company.
    function restoreLine(address user, uint32 station) external;

    /// @notice Suspends a line, unless there is none or it is suspended already. Only the dispatch.
    function suspend(address user, uint32 station) external;
}
