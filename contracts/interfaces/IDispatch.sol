// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

import {ILineRegistry} from "./ILineRegistry.sol";
import {Service} from "./IStationRegistry.sol";
import {ISettlement} from "./ISettlement.sol";
import {Permit} from "./ITransactionLock.sol";

/// @dev Why a connection ended.
enum End {
    /// The station no longer meets the rule, or has no right left to buy with: all its users are disconnected.
    Station,
    /// The units of one connection are drawn: the user applies again (delayed active update).
    Limit,
    /// The user has no right left to pay with.
    Rights,
    /// The user closed it.
    Closed,
    /// Anyone closed it, after too many blocks without a unit.
    Idle,
    /// A meter contradicts the units.
    Disputed
}

/// @title IDispatch
/// @notice Assigns stations to users and moves energy for rights, unit by unit (the paper's section 3). A user has at
/// most one open connection a service. Units are {IStationRegistry.UNIT} watt-hours and cost as many base units of the
/// rights; users pay by their allowance to {SETTLEMENT}.
///
/// Supply. A draw pays, and then energy flows. The next transaction of the user carries its meter's reading so far,
/// which acknowledges what came; so one transaction a unit pays for one and acknowledges the one before.
///
/// Acquisition. A draw agrees on units: room for them and the rights that they cost are set aside. Then the user sends
/// energy, the station checks its meter, accepts, and so pays the user, all at once or unit by unit. More is drawn once
/// all is accepted. What is not accepted when the connection is closed, or idle too long, is released again.
///
/// Meters. Readings are watt-hours since the connection was made. The station meters units; a user's meter should have
/// received units · (1 − loss), or sent units / (1 − loss). Rounding may make a watt-hour a unit. A reading that is off
/// by more disputes the connection: it is closed, the difference is on record and the line is suspended. A suspended
/// line carries no new connection; the user's other one over it goes on while its own meters agree. No reading reverts,
/// for what reverts leaves no record.
///
/// Trust. At most one unit is at risk on either side for whoever draws one at a time; who draws several, risks several.
/// A user that reports a false reading loses the line, and gains nothing: no right is ever paid back. A seller that
/// agrees on units and sends none holds their room and rights, one connection's at most, until it is closed or idle too
/// long; what it did not send is on record. A station that accepts what nobody sent gives its own rights away, which
/// would have been the company's: no more than it holds, and the energy is missing from its next true report. Safety of
/// the rights: {ISettlement}. Liveness: the user and the station that it is connected to.
interface IDispatch {
    /// @dev The last connection of a user for a service, open or not.
    struct Connection {
        uint32 station;
        /// Of the station when it was made: if the station is in another, all its users were disconnected since.
        uint24 epoch;
        /// The line's when it was made.
        uint16 loss;
        /// Units drawn.
        uint16 drawn;
        /// Of these, those that the station supplied or accepted. What is missing is due to be accepted.
        uint16 delivered;
        /// Of these, those that a reading of the user's has acknowledged.
        uint16 acknowledged;
        /// The block of its last unit.
        uint40 activeBlock;
        /// Whether nobody closed it. It is connected still if its epoch is the station's, too.
        bool open;
    }

    /// @notice Thrown when `user` has an open connection for the service.
    error AlreadyConnected(address user, Service service, uint32 station);

    /// @notice Thrown when `user` has no connection for the service to draw on or to close.
    error NotConnected(address user, Service service);

    /// @notice Thrown when a user draws no units.
    error ZeroUnits();

    /// @notice Thrown when `user` can pay `held` and a unit costs `required`.
    error InsufficientRights(address user, uint256 held, uint256 required);

    /// @notice Thrown when `user` draws while `units` sold to `station` are not accepted: wait, or close.
    error UnitsDue(address user, uint32 station, uint256 units);

    /// @notice Thrown when a station accepts `units` of `user` and only `due` are due.
    error NotDue(address user, uint256 units, uint256 due);

    /// @notice Thrown when a connection was idle for `blocks` and must be for `required` before others may close it.
    error NotIdle(uint256 blocks, uint256 required);

    /// @notice Emitted when `user` is connected to the station assigned to it.
    event Connected(address indexed user, uint32 indexed station, Service service, uint256 loss, uint256 epoch);

    /// @notice Emitted when no station serves `user`: none of its lines leads to one that is available.
    event NoStationAvailable(address indexed user, Service service);

    /// @notice Emitted once a unit, when its right is paid: from `user` to `station` for supply, which then supplies
    /// it; from `station` to `user` for acquisition.
    event UnitTransferred(uint32 indexed station, address indexed user, Service service);

    /// @notice Emitted when `station` is about to receive `units` from `user`, for rights that are set aside.
    event UnitsAgreed(uint32 indexed station, address indexed user, uint256 units);

    /// @notice Emitted when `units` agreed on do not come.
    event UnitsReleased(uint32 indexed station, address indexed user, uint256 units);

    /// @notice Emitted when a meter agrees with all `units` of a connection so far: the user's, or the station's.
    event Metered(
        uint32 indexed station, address indexed user, Service service, bool byStation, uint256 units, uint256 reading
    );

    /// @notice Emitted when a meter reads `reading` where it should read `expected` after `units`, rounded down.
    event MeterDisputed(
        uint32 indexed station,
        address indexed user,
        Service service,
        bool byStation,
        uint256 units,
        uint256 reading,
        uint256 expected
    );

    /// @notice Emitted when a connection ends.
    event Disconnected(address indexed user, uint32 indexed station, Service service, End end);

    /// @notice Emitted when all users of a station are disconnected for a service, so that `epoch` begins.
    event AllDisconnected(uint32 indexed station, Service service, uint256 epoch);

    /// @notice The lines over which energy moves.
    function LINES() external view returns (ILineRegistry);

    /// @notice Who holds the stations' rights, and takes the users'.
    function SETTLEMENT() external view returns (ISettlement);

    /// @notice The last connection of `user` for a service.
    function connectionOf(address user, Service service) external view returns (Connection memory);

    /// @notice Whether `user` can draw without applying.
    function isConnected(address user, Service service) external view returns (bool);

    /// @notice Who would be assigned to `user` now; 0 for nobody.
    function assigned(address user, Service service) external view returns (uint32 station, uint16 loss);

    /// @notice Assigns a station to the caller, connects them and draws the first unit. Flags that stations lose in
    /// the search stay lost, so nobody being available is an outcome, not an error.
    /// @param reading The caller's meter on its connection before, acknowledging the rest of it; ignored if none is.
    /// @return station The station, or 0 where none is available.
    function connect(Service service, uint64 reading) external returns (uint32 station);

    /// @notice Draws up to `units` on the caller's open connection.
    /// @param reading The caller's meter on this connection.
    /// @return drawn How many were: fewer where the connection ended.
    function draw(Service service, uint256 units, uint64 reading) external returns (uint256 drawn);

    /// @notice Ends the caller's connection, or only acknowledges the rest of it if it ended before.
    /// @param reading The caller's meter on this connection.
    function close(Service service, uint64 reading) external;

    /// @notice An application in one transaction: {connect}, {draw} for the rest of `units`, and the end of the
    /// connection. Where it ended with fewer, the caller applies again for the others.
    /// @param reading As in {connect}.
    /// @return station The station, or 0 where none is available.
    /// @return drawn How many units were drawn.
    function applyFor(Service service, uint256 units, uint64 reading) external returns (uint32 station, uint256 drawn);

    /// @notice {applyFor} supply, with the caller's permit for {SETTLEMENT}. A permit already used is ignored: what
    /// counts is the allowance.
    function applyWithPermit(uint256 units, uint64 reading, Permit calldata permit)
        external
        returns (uint32 station, uint256 drawn);

    /// @notice Accepts `units` that `user` sold, and pays for them. Only the station.
    /// @param reading The station's meter on the connection, these units included.
    /// @return accepted Whether the reading agrees; if not, the connection is disputed and nothing is paid.
    function accept(address user, uint256 units, uint64 reading) external returns (bool accepted);

    /// @notice Closes a connection that has been idle too long. Anyone. What a seller sent and the station did not accept
    /// is released, not paid: a station accepts more often than that.
    function closeIdle(address user, Service service) external;
}
