// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {DelayedAccess} from "../access/DelayedAccess.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";

/// @title Settlement
/// @notice See {ISettlement}.
contract Settlement is ISettlement, DelayedAccess, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// @inheritdoc ISettlement
    address public immutable RIGHTS;

    /// @inheritdoc ISettlement
    address public immutable COMPANY;

    /// @inheritdoc ISettlement
    address public immutable DISPATCH = msg.sender;

    /// @inheritdoc ISettlement
    uint40 public period;

    /// @inheritdoc ISettlement
    mapping(uint32 station => uint256) public floatOf;

    mapping(uint32 station => Account) internal _accounts;

    modifier onlyDispatch() {
        require(msg.sender == DISPATCH, NotTheDispatch(msg.sender, DISPATCH));
        _;
    }

    constructor(address manager, IERC20 rights, address company, uint40 initialPeriod) DelayedAccess(manager) {
        RIGHTS = address(rights);
        COMPANY = company;
        _setPeriod(initialPeriod);
    }

    /* ACCOUNTS */

    /// @inheritdoc ISettlement
    function accountOf(uint32 station) external view returns (Account memory) {
        return _accounts[station];
    }

    /// @inheritdoc ISettlement
    function freeOf(uint32 station) external view returns (uint256) {
        Account storage account = _accounts[station];
        return account.held - account.due;
    }

    /// @inheritdoc ISettlement
    function affordable(address user) external view returns (uint256) {
        return Math.min(IERC20(RIGHTS).balanceOf(user), IERC20(RIGHTS).allowance(user, address(this)));
    }

    /// @inheritdoc ISettlement
    function fund(uint32 station, uint256 amount) external nonReentrant {
        Account storage account = _accounts[station];
        require(account.periodStart != 0, UnknownAccount(station));

        account.held = (account.held + amount).toUint104();

        emit Funded(station, msg.sender, amount);

        IERC20(RIGHTS).safeTransferFrom(msg.sender, address(this), amount);
    }

    /* SALES */

    /// @inheritdoc ISettlement
    function open(uint32 station) external onlyDispatch {
        // 40 bits of seconds last 34,000 years
        _accounts[station].periodStart = uint40(block.timestamp);
    }

    /// @inheritdoc ISettlement
    function collect(uint32 station, address user, uint256 amount) external onlyDispatch nonReentrant {
        Account storage account = _accounts[station];
        account.held = (account.held + amount).toUint104();

        IERC20(RIGHTS).safeTransferFrom(user, address(this), amount);
    }

    /// @inheritdoc ISettlement
    function setAside(uint32 station, uint256 amount) external onlyDispatch {
        Account storage account = _accounts[station];
        // the dispatch sets aside no more than is free, so it is less than `held`
        account.due += uint104(amount);
    }

    /// @inheritdoc ISettlement
    function release(uint32 station, uint256 amount) external onlyDispatch {
        // the dispatch releases no more than it set aside
        _accounts[station].due -= uint104(amount);
    }

    /// @inheritdoc ISettlement
    function pay(uint32 station, address user, uint256 amount) external onlyDispatch nonReentrant {
        Account storage account = _accounts[station];
        // the dispatch pays no more than it set aside
        account.due -= uint104(amount);
        account.held -= uint104(amount);

        IERC20(RIGHTS).safeTransfer(user, amount);
    }

    /* SETTLING */

    /// @inheritdoc ISettlement
    function settle(uint32 station) external nonReentrant returns (uint256 paid, uint256 granted) {
        Account memory account = _accounts[station];
        require(account.periodStart != 0, UnknownAccount(station));
        uint256 end = uint256(account.periodStart) + period;
        require(block.timestamp >= end, PeriodNotOver(end, block.timestamp));

        paid = account.held - account.due;
        granted = Math.min(floatOf[station], _affordableAfter(paid));
        account.held = (account.due + granted).toUint104();
        account.periodStart = uint40(block.timestamp);
        _accounts[station] = account;

        emit Settled(station, paid, granted);

        if (paid != 0) IERC20(RIGHTS).safeTransfer(COMPANY, paid);
        if (granted != 0) IERC20(RIGHTS).safeTransferFrom(COMPANY, address(this), granted);
    }

    /// @dev What the company can grant once it has been paid `paid`.
    function _affordableAfter(uint256 paid) internal view returns (uint256) {
        IERC20 rights = IERC20(RIGHTS);
        return Math.min(rights.balanceOf(COMPANY) + paid, rights.allowance(COMPANY, address(this)));
    }

    /// @inheritdoc ISettlement
    function setFloat(uint32 station, uint256 newFloat) external restricted {
        require(_accounts[station].periodStart != 0, UnknownAccount(station));

        emit FloatChanged(station, floatOf[station], newFloat);
        floatOf[station] = newFloat;
    }

    /// @inheritdoc ISettlement
    function setPeriod(uint40 newPeriod) external delayed {
        _setPeriod(newPeriod);
    }

    function _setPeriod(uint40 newPeriod) internal {
        require(newPeriod != 0, ZeroPeriod());

        emit PeriodChanged(period, newPeriod);
        period = newPeriod;
    }
}
