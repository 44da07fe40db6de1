// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

/// @notice The cheat codes of forge that these tests use.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function deployCode(string calldata artifact) external returns (address deployed);
    function deployCode(string calldata artifact, bytes calldata arguments) external returns (address deployed);
    function chainId(uint256 id) external;
    function roll(uint256 blockNumber) external;
    function warp(uint256 timestamp) external;
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function addr(uint256 privateKey) external pure returns (address account);
    function sign(uint256 privateKey, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function expectPartialRevert(bytes4 selector) external;
    function expectRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function expectEmit(address emitter) external;
    function cool(address account) external;
    function snapshotState() external returns (uint256 id);
    function revertToState(uint256 id) external returns (bool done);
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory logs);
}

Vm constant VM = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

/// @notice Thrown when a test's two sides differ.
error NotEqual(string what, uint256 actual, uint256 expected);

/// @notice Thrown when a condition of a test does not hold.
error NotTrue(string what);

function checkEqual(uint256 actual, uint256 expected, string memory what) pure {
    if (actual != expected) revert NotEqual(what, actual, expected);
}

function checkEqual(bytes32 actual, bytes32 expected, string memory what) pure {
    if (actual != expected) revert NotEqual(what, uint256(actual), uint256(expected));
}

function checkEqual(address actual, address expected, string memory what) pure {
    if (actual != expected) revert NotEqual(what, uint160(actual), uint160(expected));
}

function check(bool condition, string memory what) pure {
    if (!condition) revert NotTrue(what);
}
