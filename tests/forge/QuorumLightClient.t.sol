// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IQuorumLightClient} from "../../contracts/interfaces/IQuorumLightClient.sol";
import {Network} from "./support/Network.sol";
import {SyntheticState} from "./support/SyntheticState.sol";
import {VM, check, checkEqual} from "./support/Vm.sol";

/// @notice Which seals pass.
contract QuorumLightClientTest is Network {
    uint256 internal constant MOST = 255;

    bytes internal header = SyntheticState.header("salt", 1234, "state root");
    uint256[] internal keys;

    function setUp() public {
        for (uint256 i; i < 9; ++i) {
            _insertSealer(keys, 100 + i);
        }
    }

    function _client(uint256 count) internal returns (IQuorumLightClient) {
        return IQuorumLightClient(
            VM.deployCode("QuorumLightClient.sol", abi.encode(address(this), 7, bytes32("genesis"), _addresses(count)))
        );
    }

    function _addresses(uint256 count) internal view returns (address[] memory sealers) {
        sealers = new address[](count);
        for (uint256 i; i < count; ++i) {
            sealers[i] = VM.addr(keys[i]);
        }
    }

    function _list(uint256 count) internal view returns (bytes memory list) {
        list = abi.encodePacked(uint8(count));
        for (uint256 i; i < count; ++i) {
            list = bytes.concat(list, bytes20(VM.addr(keys[i])));
        }
    }

    function _sign(IQuorumLightClient client, uint256 key) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(keys[key], client.digest(keccak256(header)));
        return abi.encodePacked(uint8(key), r, s, v);
    }

    /* QUORUM */

    function testFuzz_twoThirdsRoundedUpMustSign(uint256 count, uint256 subset) public {
        count = 1 + count % 9;
        subset %= 1 << count;
        IQuorumLightClient client = _client(count);
        uint256 needed = (2 * count + 2) / 3;
        checkEqual(client.quorum(), needed, "quorum");
        check(3 * needed >= 2 * count && 3 * (needed - 1) < 2 * count, "not ceil(2n/3)");

        bytes memory seal = _list(count);
        uint256 signed;
        for (uint256 i; i < count; ++i) {
            if (subset >> i & 1 == 0) continue;
            seal = bytes.concat(seal, _sign(client, i));
            ++signed;
        }

        if (signed < needed) {
            VM.expectRevert(abi.encodeWithSelector(IQuorumLightClient.InsufficientQuorum.selector, signed, needed));
            client.verifyHeader(header, seal);
            return;
        }
        (uint256 number, bytes32 blockHash, bytes32 stateRoot) = client.verifyHeader(header, seal);
        checkEqual(number, 1234, "number");
        checkEqual(blockHash, keccak256(header), "block hash");
        checkEqual(stateRoot, "state root", "state root");
    }

    function test_oneSealerDoesNotCountTwice() public {
        IQuorumLightClient client = _client(4);
        bytes memory seal = bytes.concat(_list(4), _sign(client, 0), _sign(client, 1), _sign(client, 1));
        VM.expectRevert(abi.encodeWithSelector(IQuorumLightClient.SealsNotAscending.selector, 1, 2));
        client.verifyHeader(header, seal);

        seal = bytes.concat(_list(4), _sign(client, 1), _sign(client, 0), _sign(client, 2));
        VM.expectRevert(abi.encodeWithSelector(IQuorumLightClient.SealsNotAscending.selector, 0, 2));
        client.verifyHeader(header, seal);
    }

    function test_strangersDoNotSeal() public {
        IQuorumLightClient client = _client(4);
        // A list of the attacker's own.
        bytes memory seal = bytes.concat(abi.encodePacked(uint8(1), VM.addr(keys[8])), _sign(client, 8));
        VM.expectPartialRevert(IQuorumLightClient.SealerSetMismatch.selector);
        client.verifyHeader(header, seal);

        // A stranger's signature under a sealer's index.
        bytes memory stranger = _sign(client, 8);
        stranger[0] = bytes1(uint8(3));
        seal = bytes.concat(_list(4), _sign(client, 0), _sign(client, 1), stranger);
        VM.expectRevert(
            abi.encodeWithSelector(IQuorumLightClient.InvalidSeal.selector, 3, VM.addr(keys[8]), VM.addr(keys[3]))
        );
        client.verifyHeader(header, seal);

        seal = bytes.concat(_list(4), _sign(client, 0), _sign(client, 1), _sign(client, 8));
        VM.expectRevert(abi.encodeWithSelector(IQuorumLightClient.SealerIndexOutOfRange.selector, 8, 4));
        client.verifyHeader(header, seal);
    }

    function test_signaturesServeOneHeaderOfOneChain() public {
        IQuorumLightClient client = _client(1);
        bytes memory seal = bytes.concat(_list(1), _sign(client, 0));
        client.verifyHeader(header, seal);

        bytes memory other = SyntheticState.header("salt", 1235, "state root");
        VM.expectPartialRevert(IQuorumLightClient.InvalidSeal.selector);
        client.verifyHeader(other, seal);

        // The same sealers for a chain with the same id that began anew.
        IQuorumLightClient restarted = IQuorumLightClient(
            VM.deployCode("QuorumLightClient.sol", abi.encode(address(this), 7, bytes32("restarted"), _addresses(1)))
        );
        VM.expectPartialRevert(IQuorumLightClient.InvalidSeal.selector);
        restarted.verifyHeader(header, seal);
    }

    function test_signatureHasOneForm() public {
        IQuorumLightClient client = _client(1);
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(keys[0], client.digest(keccak256(header)));
        bytes memory seal = abi.encodePacked(_list(1), uint8(0), r, order - uint256(s), v == 27 ? uint8(28) : uint8(27));
        VM.expectRevert(
            abi.encodeWithSelector(IQuorumLightClient.InvalidSeal.selector, 0, address(0), VM.addr(keys[0]))
        );
        client.verifyHeader(header, seal);
    }

    function testFuzz_garbageIsNoSeal(bytes calldata garbage, uint8 count) public {
        IQuorumLightClient client = _client(4);
        (bool accepted,) = address(client).staticcall(abi.encodeCall(client.verifyHeader, (header, garbage)));
        check(!accepted, "garbage was accepted");
        (accepted,) = address(client)
            .staticcall(abi.encodeCall(client.verifyHeader, (header, bytes.concat(_list(count % 10), garbage))));
        check(!accepted, "garbage behind a list was accepted");
    }

    function test_emptySealIsMalformed() public {
        IQuorumLightClient client = _client(1);
        VM.expectRevert(abi.encodeWithSelector(IQuorumLightClient.MalformedSeal.selector, 0));
        client.verifyHeader(header, "");
        VM.expectRevert(abi.encodeWithSelector(IQuorumLightClient.InsufficientQuorum.selector, 0, 1));
        client.verifyHeader(header, _list(1));
        VM.expectRevert(abi.encodeWithSelector(IQuorumLightClient.MalformedSeal.selector, 22));
        client.verifyHeader(header, bytes.concat(_list(1), hex"00"));
    }

    /* SEALERS */

    function test_setIsAscendingAndNeitherEmptyNorTooLarge() public {
        address[] memory sealers = new address[](MOST + 1);
        for (uint256 i; i <= MOST; ++i) {
            sealers[i] = address(uint160(i + 1));
        }
        _expectRejected(sealers, abi.encodeWithSelector(IQuorumLightClient.InvalidSealerCount.selector, 256, MOST));
        _expectRejected(
            new address[](0), abi.encodeWithSelector(IQuorumLightClient.InvalidSealerCount.selector, 0, MOST)
        );
        _expectRejected(
            new address[](1),
            abi.encodeWithSelector(IQuorumLightClient.SealersNotAscending.selector, address(0), address(0))
        );
        address[] memory twice = new address[](2);
        (twice[0], twice[1]) = (alice(), alice());
        _expectRejected(
            twice, abi.encodeWithSelector(IQuorumLightClient.SealersNotAscending.selector, alice(), alice())
        );

        assembly ("memory-safe") {
            mstore(sealers, MOST)
        }
        IQuorumLightClient client = IQuorumLightClient(
            VM.deployCode("QuorumLightClient.sol", abi.encode(address(this), 7, bytes32("genesis"), sealers))
        );
        checkEqual(client.quorum(), 170, "quorum of the largest set");
    }

    function alice() internal pure returns (address) {
        return address(0xA11CE);
    }

    function _expectRejected(address[] memory sealers, bytes memory reason) internal {
        VM.expectRevert(reason);
        VM.deployCode("QuorumLightClient.sol", abi.encode(address(this), 7, bytes32("genesis"), sealers));
    }
}
