// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

/// @dev Which way energy flows.
enum Service {
    /// Station to user, who pays a right a unit.
    Supply,
    /// User to station, which pays a right a unit.
    Acquire
}

/// @dev What a report says of a flag.
enum Said {
    /// It stays as it is.
    Nothing,
    No,
    Yes
}

/// @dev The parameters of dispatch.
struct Rules {
    /// Units on one connection, after which the user applies again (the paper's k).
    uint16 unitsPerConnection;
    /// Watt-hours that a station keeps for each connected user.
    uint48 reservePerUser;
    /// Blocks without a unit after which anyone may close a connection.
    uint32 idleBlocks;
}

/// @title IStationRegistry
/// @notice The station list (the paper's section 3): stations, what they last said of themselves, and the rules that it
/// is read by. Amounts are in watt-hours.
///
/// The list is updated locally and passively: nobody polls, a station reports when its state changes, and a report
/// that units have overtaken is refused. So is one that raises a flag against its numbers, those it leaves alone
/// included. A flag that a report says nothing of is not held to them: what it promises is checked at each application.
///
/// Trust. The company registers stations; whoever changes the rules waits for the delay of its role. Safety: a station
/// can lie only about itself. A level too high costs each user that is sent to it one unit, after which the line is
/// suspended; one too low costs the station its custom. Liveness: a station that never reports stays as it was, and one
/// without its flag is passed over.
interface IStationRegistry {
    /// @dev What a new station starts with.
    struct StationTerms {
        /// The account that reports, and accepts what users sell.
        address key;
        /// All that it can store.
        uint40 capacity;
        uint40 stored;
        /// Users served already when it is registered, who will not draw here: held against its reserve until all its
        /// users are disconnected.
        uint24 connectedSupply;
        uint24 connectedAcquire;
        bool canSupply;
        bool canAcquire;
    }

    /// @dev What a station says of itself. It changes what it speaks of, and leaves the rest.
    struct Report {
        /// The transfer counter that it belongs to.
        uint40 transfers;
        /// Whether it says what is stored.
        bool hasStored;
        /// What is there: without what is still coming, the room for which must stay free.
        uint40 stored;
        Said canSupply;
        Said canAcquire;
    }

    /// @dev A station as the list has it.
    struct StationState {
        address key;
        uint40 capacity;
        uint40 stored;
        /// What users have agreed to send: the room for it is taken, and it is not there yet.
        uint32 coming;
        bool canSupply;
        bool canAcquire;
        uint24 connectedSupply;
        uint24 connectedAcquire;
        /// How often all its users were disconnected.
        uint24 epochSupply;
        uint24 epochAcquire;
        /// Units supplied and accepted: each changed `stored`.
        uint40 transfers;
    }

    /// @notice Thrown when there is no such station.
    error UnknownStation(uint32 station);

    /// @notice Thrown when `caller` acts for a station and only `key` may.
    error NotTheStation(address caller, address key);

    /// @notice Thrown when a station would have no key.
    error ZeroKey();

    /// @notice Thrown when a station is said to store more than it can, beside what is coming.
    error StoredExceedsCapacity(uint256 stored, uint256 capacity);

    /// @notice Thrown when a report belongs to transfer `reported` of the station, and `actual` were made.
    error ReportOvertaken(uint256 reported, uint256 actual);

    /// @notice Thrown when a report raises a flag though the level is not above `required`.
    error FlagContradicted(Service service, uint256 level, uint256 required);

    /// @notice Thrown when a unit would be nothing.
    error ZeroUnit();

    /// @notice Thrown when a connection could carry no unit, or would be idle at once.
    error InvalidRules(uint16 unitsPerConnection, uint32 idleBlocks);

    /// @notice Emitted when the company registers a station.
    event StationRegistered(uint32 indexed station, StationTerms terms);

    /// @notice Emitted when another account acts for a station.
    event StationKeyChanged(uint32 indexed station, address previous, address current);

    /// @notice Emitted when a station reports, with all that the list says of it then.
    event Reported(uint32 indexed station, uint256 stored, bool canSupply, bool canAcquire, uint256 transfers);

    /// @notice Emitted when a station loses its flag for a service, by its own numbers. It returns with a report.
    event FlagCleared(uint32 indexed station, Service service);

    /// @notice Emitted when the rules change.
    event RulesChanged(Rules previous, Rules current);

    /// @notice One unit of energy, in watt-hours, and what it costs, in base units of the rights. Fixed: another one
    /// would reprice what is drawn and not yet metered.
    function UNIT() external view returns (uint256);

    /// @notice The parameters of dispatch.
    function rules() external view returns (uint16 unitsPerConnection, uint48 reservePerUser, uint32 idleBlocks);

    /// @notice How many stations are registered: their ids are 1 to this, by registration.
    function stationCount() external view returns (uint32);

    /// @notice A station as it stands; all zero where there is none.
    function stationState(uint32 station) external view returns (StationState memory);

    /// @notice Registers a station. Only the company. Flags are not held to the numbers here, as they are at each
    /// application anyway.
    function register(StationTerms calldata terms) external returns (uint32 station);

    /// @notice Lets another account act for a station, as when a key is lost. Only the company.
    function setStationKey(uint32 station, address newKey) external;

    /// @notice Takes a station's report. Only the station itself.
    function report(uint32 station, Report calldata said) external;

    /// @notice Changes the rules. Only after the delay of the caller's role.
    function setRules(Rules calldata newRules) external;
}
