// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4;

/// @title ISettlement
/// @notice The stations' money: each one's rights are held here under its id, and leave only to users who sold it
/// energy or, once a period is over, to the company (the paper's step S7). Amounts are in base units of the rights,
/// which are watt-hours.
///
/// What a sale will cost is set aside when the sale is agreed, before any energy flows. Settling does not touch it: so
/// no sale is stranded, and none is paid before the station's meter has seen it. The settling transaction also grants
/// the station its next float.
///
/// Trust. Safety: the dispatch, fixed at deployment, says who paid whom; the company's role sets the floats, and the
/// company's allowance bounds them. Liveness: anybody, once the period is over. Rights that are sent here directly,
/// not through `fund`, belong to nobody.
interface ISettlement {
    /// @dev The account of one station.
    struct Account {
        /// All that it holds, what is set aside included.
        uint104 held;
        /// Set aside for users whose units are not accepted yet.
        uint104 due;
        /// When its period began; 0 where there is no such station.
        uint40 periodStart;
    }

    /// @notice Thrown when `caller` moves rights, and only `dispatch` may.
    error NotTheDispatch(address caller, address dispatch);

    /// @notice Thrown when no station has this account.
    error UnknownAccount(uint32 station);

    /// @notice Thrown when a station is settled at `timestamp` and its period lasts until `end`.
    error PeriodNotOver(uint256 end, uint256 timestamp);

    /// @notice Thrown when a period would be over at once.
    error ZeroPeriod();

    /// @notice Emitted when somebody adds to a station's rights.
    event Funded(uint32 indexed station, address indexed from, uint256 amount);

    /// @notice Emitted when a station is settled: it paid `paid` to the company and got `granted` as its next float,
    /// less than its float where the company's rights or allowance are short. {fund} makes up for it.
    event Settled(uint32 indexed station, uint256 paid, uint256 granted);

    /// @notice Emitted when a station's float changes.
    event FloatChanged(uint32 indexed station, uint256 previous, uint256 current);

    /// @notice Emitted when the period changes.
    event PeriodChanged(uint256 previous, uint256 current);

    /// @notice What the accounts hold: an ERC-20.
    function RIGHTS() external view returns (address);

    /// @notice Who gets what the stations earn, and grants the floats.
    function COMPANY() external view returns (address);

    /// @notice Who says what is paid to whom.
    function DISPATCH() external view returns (address);

    /// @notice How long a station's period lasts at least, in seconds.
    function period() external view returns (uint40);

    /// @notice What a station is to begin each period with.
    function floatOf(uint32 station) external view returns (uint256);

    /// @notice The account of a station.
    function accountOf(uint32 station) external view returns (Account memory);

    /// @notice What a station can still spend.
    function freeOf(uint32 station) external view returns (uint256);

    /// @notice What `user` can pay: its rights, as far as this contract may take them.
    function affordable(address user) external view returns (uint256);

    /// @notice Adds `amount` of the caller's rights to a station's, to sell to it before its first settlement, say.
    function fund(uint32 station, uint256 amount) external;

    /// @notice Pays a station's free rights to the company, grants it the next float and begins its next period.
    /// Anyone, once the period is over.
    /// @return paid What the company got.
    /// @return granted What the station got.
    function settle(uint32 station) external returns (uint256 paid, uint256 granted);

    /// @notice Changes what a station begins its periods with, from the next one on. Only the company.
    function setFloat(uint32 station, uint256 newFloat) external;

    /// @notice Changes the period, of those that run too. Only after the delay of the caller's role.
    function setPeriod(uint40 newPeriod) external;

    /// @notice Opens the account of a new station. Only the dispatch.
    function open(uint32 station) external;

    /// @notice Takes `amount` from `user` for energy supplied. Only the dispatch.
    function collect(uint32 station, address user, uint256 amount) external;

    /// @notice Sets `amount` of a station's free rights aside. Only the dispatch.
    function setAside(uint32 station, uint256 amount) external;

    /// @notice Frees `amount` that was set aside: its sale did not come about. Only the dispatch.
    function release(uint32 station, uint256 amount) external;

    /// @notice Pays `amount` that was set aside to `user`. Only the dispatch.
    function pay(uint32 station, address user, uint256 amount) external;
}
