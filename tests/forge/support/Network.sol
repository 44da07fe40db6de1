// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IAliasRegistry} from "../../../contracts/interfaces/IAliasRegistry.sol";
import {IEnergyMarket} from "../../../contracts/interfaces/IEnergyMarket.sol";
import {IEnergyToken} from "../../../contracts/interfaces/IEnergyToken.sol";
import {ILightClient} from "../../../contracts/interfaces/ILightClient.sol";
import {IQuorumLightClient} from "../../../contracts/interfaces/IQuorumLightClient.sol";
import {ITransactionLock} from "../../../contracts/interfaces/ITransactionLock.sol";
import {SyntheticState} from "./SyntheticState.sol";
import {VM} from "./Vm.sol";

/// @dev The index of the transaction chain.
uint256 constant TRANSACTION = 0;

/// @dev All the rights on each scheduling chain.
uint256 constant SUPPLY = 240_000;

/// @dev One chain of the network. All of them live in one EVM: `enter` puts on the chain's id, height and time.
struct Chain {
    uint256 id;
    bytes32 genesisHash;
    address manager;
    IAliasRegistry aliases;
    IERC20 asset;
    ITransactionLock lock;
    /// The block in the making: sealed headers end before it.
    uint256 number;
    uint256 time;
}

/// @title Network
/// @notice A transaction chain (index 0) and scheduling chains (from 1), with the contracts as deployed for real, real
/// signatures of their sealers and real proofs.
abstract contract Network {
    uint256 internal constant SLOT_OF_ROUTES = 1;
    uint256 internal constant SLOT_OF_CHECKPOINTS = 5;

    address internal immutable COMPANY = address(uint160(uint256(keccak256("company"))));

    Chain[] internal chains;

    /// @dev Private keys of the sealers of each chain, by ascending address, and the list of these that seals begin with.
    mapping(uint256 chain => uint256[]) internal sealerKeys;
    mapping(uint256 chain => bytes) internal sealerList;

    IEnergyMarket internal market;

    /* DEPLOYMENT */

    function _addChain(uint256 sealers) internal returns (uint256 chain) {
        chain = chains.length;
        bytes32 genesisHash = keccak256(abi.encode("genesis", chain));
        Chain storage c = chains.push();
        c.id = 1000 + chain;
        c.genesisHash = genesisHash;
        c.number = 1;
        c.time = 1_700_000_000;
        _enter(chain);

        c.manager = VM.deployCode("NetworkManager.sol", abi.encode(COMPANY));
        c.aliases = IAliasRegistry(VM.deployCode("AliasRegistry.sol"));
        c.asset = _deployAsset(chain);
        c.lock = ITransactionLock(
            VM.deployCode("TransactionLock.sol", abi.encode(c.manager, c.asset, c.aliases, COMPANY, genesisHash))
        );
        VM.prank(COMPANY);
        c.asset.approve(address(c.lock), type(uint256).max);
        for (uint256 i; i < sealers; ++i) {
            _insertSealer(sealerKeys[chain], uint256(keccak256(abi.encode("sealer", chain, i))));
        }
        sealerList[chain] = abi.encodePacked(uint8(sealers));
        for (uint256 i; i < sealers; ++i) {
            sealerList[chain] = bytes.concat(sealerList[chain], bytes20(VM.addr(sealerKeys[chain][i])));
        }
    }

    function _deployAsset(uint256 chain) internal virtual returns (IERC20) {
        return IERC20(
            chain == TRANSACTION
                ? VM.deployCode("EnergyToken.sol", abi.encode(chains[chain].manager))
                : VM.deployCode("EnergyRights.sol", abi.encode(SUPPLY, COMPANY))
        );
    }

    function _insertSealer(uint256[] storage keys, uint256 key) internal {
        keys.push(key);
        for (uint256 i = keys.length - 1; i != 0 && VM.addr(keys[i - 1]) > VM.addr(key); --i) {
            (keys[i - 1], keys[i]) = (keys[i], keys[i - 1]);
        }
    }

    function _addMarket() internal {
        _enter(TRANSACTION);
        market = IEnergyMarket(VM.deployCode("EnergyMarket.sol", abi.encode(chains[TRANSACTION].lock)));
        VM.prank(COMPANY);
        chains[TRANSACTION].lock.setMarket(address(market));
    }

    /// @dev Adds the end on chain `here` of the route to chain `there`, funded by the company.
    function _addRoute(uint256 here, uint256 there, uint16 confirmations, uint32 lot, uint32 peerLot, uint104 allotment)
        internal
    {
        _enter(here);
        ILightClient lightClient = ILightClient(
            VM.deployCode(
                "QuorumLightClient.sol",
                abi.encode(chains[here].manager, chains[there].id, chains[there].genesisHash, _sealersOf(there))
            )
        );
        VM.prank(COMPANY);
        chains[here].lock
            .addRoute(
                _counterpart(there), ITransactionLock.RouteTerms(lightClient, confirmations, lot, peerLot), allotment
            );
    }

    function _issue(address to, uint256 amount) internal {
        _enter(TRANSACTION);
        VM.prank(COMPANY);
        IEnergyToken(address(chains[TRANSACTION].asset)).issue(to, amount, 0);
    }

    /* CHAINS */

    function _enter(uint256 chain) internal {
        VM.chainId(chains[chain].id);
        VM.roll(chains[chain].number);
        VM.warp(chains[chain].time);
    }

    function _advance(uint256 chain, uint256 blocks) internal {
        chains[chain].number += blocks;
        chains[chain].time += blocks;
    }

    function _counterpart(uint256 chain) internal view returns (ITransactionLock.Counterpart memory) {
        return ITransactionLock.Counterpart(chains[chain].id, chains[chain].genesisHash, address(chains[chain].lock));
    }

    /// @dev The key, on any chain, of the route to `chain`.
    function _routeTo(uint256 chain) internal view returns (bytes32) {
        return keccak256(abi.encode(chains[chain].id, chains[chain].genesisHash, chains[chain].lock));
    }

    function _state(uint256 here, uint256 there) internal view returns (ITransactionLock.RouteState memory) {
        return chains[here].lock.routeState(_routeTo(there));
    }

    /* SEALS AND PROOFS */

    function _sealersOf(uint256 chain) internal view returns (address[] memory sealers) {
        uint256[] storage keys = sealerKeys[chain];
        sealers = new address[](keys.length);
        for (uint256 i; i < keys.length; ++i) {
            sealers[i] = VM.addr(keys[i]);
        }
    }

    /// @dev The seal of the first ceil(2n/3) sealers of chain `source`.
    function _seal(uint256 source, IQuorumLightClient lightClient, bytes memory header)
        internal
        view
        returns (bytes memory seal)
    {
        uint256[] storage keys = sealerKeys[source];
        bytes32 digest = lightClient.digest(keccak256(header));
        seal = sealerList[source];
        for (uint256 i; i < (2 * keys.length + 2) / 3; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = VM.sign(keys[i], digest);
            seal = abi.encodePacked(seal, uint8(i), r, s, v);
        }
    }

    /// @dev Header `number` of chain `source`, one of many for different salts, sealed for chain `here`.
    function _sealed(uint256 source, uint256 here, uint256 number, bytes32 salt)
        internal
        view
        returns (bytes memory header, bytes memory seal)
    {
        header = SyntheticState.header(salt, number, 0);
        seal = _seal(source, IQuorumLightClient(address(_state(here, source).lightClient)), header);
    }

    /// @dev A packet without transfers for chain `here`: the sealed header `number` of chain `there`, and the proof
    /// that its lock's outbox to here (or a checkpoint of it) was `outbox`.
    function _packet(uint256 here, uint256 there, uint256 number, uint256 checkpoint, bytes32 outbox)
        internal
        view
        returns (ITransactionLock.Packet memory packet)
    {
        bytes32 slot = keccak256(abi.encode(_routeTo(here), SLOT_OF_ROUTES));
        if (checkpoint != 0) slot = keccak256(abi.encode(checkpoint, uint256(slot) + SLOT_OF_CHECKPOINTS));

        bytes32 stateRoot;
        (stateRoot, packet.accountProof, packet.storageProof) =
            SyntheticState.prove(address(chains[there].lock), slot, outbox);
        packet.header = SyntheticState.header(chains[there].genesisHash, number, stateRoot);
        packet.seal = _seal(there, IQuorumLightClient(address(_state(here, there).lightClient)), packet.header);
        packet.checkpoint = checkpoint;
        packet.limit = type(uint256).max;
    }
}
