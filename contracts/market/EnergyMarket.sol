// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {IEnergyMarket} from "../interfaces/IEnergyMarket.sol";
import {ITransactionLock, Permit} from "../interfaces/ITransactionLock.sol";
import {CallerPermit} from "../token/CallerPermit.sol";

/// @title EnergyMarket
/// @notice See {IEnergyMarket}.
contract EnergyMarket is IEnergyMarket {
    using SafeERC20 for IERC20;

    /// @inheritdoc IEnergyMarket
    ITransactionLock public immutable LOCK;

    IERC20 internal immutable _TOKEN;

    constructor(ITransactionLock lock) {
        LOCK = lock;
        _TOKEN = IERC20(lock.ASSET());

        _TOKEN.forceApprove(address(lock), type(uint256).max);
    }

    /// @inheritdoc IEnergyMarket
    function buy(bytes32 route, uint256 amount, bytes20 recipient, bytes20 refund, uint40 deadline)
        external
        returns (uint256 position)
    {
        return _buy(route, amount, recipient, refund, deadline);
    }

    /// @inheritdoc IEnergyMarket
    function buyWithPermit(
        bytes32 route,
        uint256 amount,
        bytes20 recipient,
        bytes20 refund,
        uint40 deadline,
        Permit calldata permit
    ) external returns (uint256 position) {
        CallerPermit.use(address(_TOKEN), permit);
        return _buy(route, amount, recipient, refund, deadline);
    }

    /// @dev The tokens pass through here because the lock moves only its caller's: this contract never keeps any.
    function _buy(bytes32 route, uint256 amount, bytes20 recipient, bytes20 refund, uint40 deadline)
        internal
        returns (uint256 position)
    {
        _TOKEN.safeTransferFrom(msg.sender, address(this), amount);
        position = LOCK.lockPurchase(route, amount, recipient, refund, deadline);

        emit Purchased(msg.sender, LOCK.COMPANY(), route, position, amount);
    }
}
