/** Settings of the membership, checked before anything is opened.
 *
 * Job: documented fields, presets, and errors that name the field.
 * Boundary: relations between protocol settings are `swim/Params`'s rules; this file adds addresses, sizes and time
 * units. Everything is cluster-wide (should be equal on all members) unless its comment says "per node". */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Member from "../swim/Member.ts"
import * as Params from "../swim/Params.ts"
import type * as Codec from "../wire/Codec.ts"
import { binary } from "../wire/Codec.ts"
import * as Saved from "../wire/Saved.ts"
import * as Discovery from "./Discovery.ts"

/** A setting is impossible. Fault: configuration. State: nothing was opened. Retry: after it was corrected. */
export class InvalidConfig extends Schema.TaggedError<InvalidConfig>()("InvalidConfig", {
  field: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `membership setting "${this.field}": ${this.problem}`
  }
}

/** How messages are written on the wire: compact binary by default, the same on every member of a cluster. */
export const WireCodec: Context.Reference<Codec.Codec> = Context.Reference<Codec.Codec>("shoal/membership/WireCodec", {
  defaultValue: () => binary
})

/** Uses another codec, for example `Codec.json` while debugging. */
export const layerCodec = (codec: Codec.Codec): Layer.Layer<never> => Layer.succeed(WireCodec, codec)

export interface Options {
  /** This member's name, unique in the cluster, 1 to 128 bytes. Per node. */
  readonly name: string
  /** Identifies this run of the process, 1 to 2^48 - 1. Default: random. Per node. */
  readonly bootId?: Member.BootId | undefined
  /** Name of the cluster, 1 to 64 bytes: members with another one are refused. Default: "shoal". */
  readonly label?: string | undefined
  /** "host:port" to listen on, for datagrams and streams alike; port 0 takes a free one. Per node. */
  readonly bind: string
  /** "host:port" under which others reach this member, an IP address. Default: `bind`, with the port that was bound;
   * required when `bind` is 0.0.0.0 or [::]. Per node. */
  readonly advertise?: string | undefined
  /** Members to contact first, "host:port", names allowed. Tried again for ever. Default: none. Per node. */
  readonly join?: ReadonlyArray<string> | undefined
  /** What this member tells about itself, at most 512 bytes. Default: empty. Per node. */
  readonly metadata?: Uint8Array | undefined
  /** Members that an earlier run has saved (`Membership.saved`): the gone are remembered, the others are contacted like
   * seeds for as long as `rejoinFor`. Default: none. Per node. */
  readonly restore?: Uint8Array | undefined
  /** The preset that all other settings start from: one data centre, the internet, or one machine. Default: "lan". */
  readonly profile?: Profile | undefined
  /** One probe per member in this time. lan 1 s, wan 5 s, local 1 s. */
  readonly probeInterval?: Duration.Input | undefined
  /** How long a direct ping may take before relays are asked. lan 500 ms, wan 3 s, local 200 ms. */
  readonly probeTimeout?: Duration.Input | undefined
  /** Pace of the dissemination tick. lan 200 ms, wan 500 ms, local 100 ms. */
  readonly gossipInterval?: Duration.Input | undefined
  /** Members told per tick. lan 3, wan 4, local 3. */
  readonly gossipFanout?: number | undefined
  /** Length of a suspicion: this times log10 n times `probeInterval`. lan 4, wan 6, local 3; at least 2. */
  readonly suspicionMultiplier?: number | undefined
  /** Pace of the periodic state exchange. lan 30 s, wan 60 s, local 15 s. */
  readonly pushPullInterval?: Duration.Input | undefined
  /** How long dead and left members are remembered. 24 h. */
  readonly tombstoneRetention?: Duration.Input | undefined
  /** How long dead members are tried again. 1 h. */
  readonly rejoinFor?: Duration.Input | undefined
  /** How long `leave` waits for acknowledgements. lan 2 s, wan 5 s. */
  readonly leaveTimeout?: Duration.Input | undefined
  /** A state exchange that takes longer is given up. lan 10 s, wan 30 s. */
  readonly streamTimeout?: Duration.Input | undefined
  /** No datagram is larger, bytes. 1400. */
  readonly datagramBudget?: number | undefined
  /** State exchanges at once, per direction. 64. Per node. */
  readonly maxStreams?: number | undefined
  /** Any other setting of the protocol, in its own units. */
  readonly params?: Partial<Params.Params> | undefined
  /** Inputs that may wait for the actor; beyond that, datagrams are dropped and streams wait. 1024. Per node. */
  readonly mailbox?: number | undefined
  /** Changes that may wait for one reader before it is resynchronised with a snapshot. 1024. Per node. */
  readonly changesBuffer?: number | undefined
  /** Most bytes of one state exchange, each way. 32 MiB. Per node. */
  readonly maxStreamBytes?: number | undefined
  /** How long opening a stream may take. 1 s (wan 3 s). Per node. */
  readonly dialTimeout?: Duration.Input | undefined
}

export type Profile = "lan" | "wan" | "local"

/** Checked settings. */
export interface Config {
  readonly name: Member.MemberId
  /** undefined: drawn when the layer is built */
  readonly bootId: Member.BootId | undefined
  readonly label: string
  readonly bind: Member.Address
  readonly advertise: Member.Address | undefined
  readonly seeds: ReadonlyArray<Member.Address>
  readonly metadata: Uint8Array
  readonly restore: Saved.Saved | undefined
  readonly params: Params.Params
  readonly mailbox: number
  readonly changesBuffer: number
  readonly maxStreamBytes: number
  readonly dialTimeoutMs: number
}

const presets: Record<Profile, Params.Params> = { lan: Params.lan, wan: Params.wan, local: Params.local }

/** Duration fields whose protocol setting has the same name. */
const durations = [
  "probeInterval",
  "probeTimeout",
  "gossipInterval",
  "pushPullInterval",
  "tombstoneRetention",
  "rejoinFor",
  "leaveTimeout",
  "streamTimeout"
] as const

const maxMailbox = 1 << 20
const defaultLabel = "shoal"
const maxLabelBytes = 64
const utf8 = new TextEncoder()

/** Checks all settings; the first problem is reported with its field. */
export const resolve = (options: Options): Result.Result<Config, InvalidConfig> => {
  const invalid = (field: string, problem: string) => Result.fail(new InvalidConfig({ field, problem }))
  const preset = presets[options.profile ?? "lan"]
  if (preset === undefined) return invalid("profile", `"${options.profile}" is none of lan, wan, local`)
  const nameBytes = utf8.encode(options.name).length
  if (nameBytes === 0 || nameBytes > Member.maxIdBytes) {
    return invalid("name", `1 to ${Member.maxIdBytes} bytes are allowed`)
  }
  // Names appear in logs, URLs and files.
  if (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(options.name)) return invalid("name", "control characters are not allowed")
  const label = options.label ?? defaultLabel
  const labelBytes = utf8.encode(label).length
  if (labelBytes === 0 || labelBytes > maxLabelBytes) return invalid("label", `1 to ${maxLabelBytes} bytes are allowed`)
  const bind = Discovery.parseAddress(options.bind, { anyPort: true })
  if (Result.isFailure(bind)) return invalid("bind", bind.failure.message)
  const advertise = options.advertise === undefined
    ? undefined
    : Discovery.parseAddress(options.advertise, { anyPort: true })
  if (advertise !== undefined && Result.isFailure(advertise)) return invalid("advertise", advertise.failure.message)
  if (advertise === undefined && unspecified.has(bind.success.host)) {
    return invalid("advertise", `is required when bind is ${options.bind}: other members cannot reach that address`)
  }
  if (advertise !== undefined && unspecified.has(advertise.success.host)) {
    return invalid("advertise", `${options.advertise} is not an address that others can reach`)
  }
  if (advertise !== undefined && !Discovery.isIp(advertise.success.host)) {
    return invalid("advertise", `"${advertise.success.host}" is a name, an IP address is needed`)
  }
  const seeds = Discovery.parseSeeds(options.join ?? [])
  if (Result.isFailure(seeds)) return invalid("join", seeds.failure.message)
  const metadata = options.metadata ?? new Uint8Array(0)
  if (metadata.length > Member.maxMeta) {
    return invalid("metadata", `${metadata.length} bytes, at most ${Member.maxMeta} are allowed`)
  }
  const restore = options.restore === undefined ? undefined : Saved.decode(options.restore)
  if (restore !== undefined && Result.isFailure(restore)) return invalid("restore", restore.failure)
  const params = resolveParams(options, preset)
  if (Result.isFailure(params)) return Result.fail(params.failure)
  const dialTimeoutMs = millis(options.dialTimeout ?? (options.profile === "wan" ? 3000 : 1000))
  if (dialTimeoutMs === undefined || dialTimeoutMs <= 0) return invalid("dialTimeout", "a duration above 0 is needed")
  const mailbox = options.mailbox ?? 1024
  const changesBuffer = options.changesBuffer ?? 1024
  const maxStreamBytes = options.maxStreamBytes ?? 32 * 1024 * 1024
  if (!isCount(mailbox, 16, maxMailbox)) return invalid("mailbox", "16 to 1,048,576 inputs")
  if (!isCount(changesBuffer, 1, maxMailbox)) return invalid("changesBuffer", "1 to 1,048,576 changes")
  if (!isCount(maxStreamBytes, 65_536, 2 ** 31)) return invalid("maxStreamBytes", "64 KiB to 2 GiB")
  if (options.bootId !== undefined && !isCount(options.bootId, 1, Member.maxBootId)) {
    return invalid("bootId", "a whole number from 1 to 2^48 - 1")
  }
  return Result.succeed({
    name: Member.id(options.name),
    bootId: options.bootId,
    label,
    bind: bind.success,
    advertise: advertise?.success,
    seeds: seeds.success,
    metadata,
    restore: restore?.success,
    params: params.success,
    mailbox,
    changesBuffer,
    maxStreamBytes,
    dialTimeoutMs
  })
}

const resolveParams = (options: Options, preset: Params.Params): Result.Result<Params.Params, InvalidConfig> => {
  const changed: { -readonly [K in keyof Params.Params]?: Params.Params[K] } = {}
  for (const field of durations) {
    const input = options[field]
    if (input === undefined) continue
    const value = millis(input)
    if (value === undefined) return Result.fail(new InvalidConfig({ field, problem: "not a finite duration" }))
    changed[field] = value
  }
  if (options.gossipFanout !== undefined) changed.gossipFanout = options.gossipFanout
  if (options.suspicionMultiplier !== undefined) changed.suspicionAlpha = options.suspicionMultiplier
  if (options.datagramBudget !== undefined) changed.datagramBudget = options.datagramBudget
  if (options.maxStreams !== undefined) changed.maxStreams = options.maxStreams
  return Result.mapError(
    Params.validate({ ...preset, ...changed, ...options.params }),
    ({ field, rule }) =>
      new InvalidConfig({
        field: field === "suspicionAlpha" ? "suspicionMultiplier" : field,
        problem: `must be ${rule}`
      })
  )
}

const unspecified = new Set(["0.0.0.0", "::", "0:0:0:0:0:0:0:0"])

const isCount = (value: number, min: number, max: number): boolean =>
  Number.isSafeInteger(value) && value >= min && value <= max

const millis = (input: Duration.Input): number | undefined => {
  const duration = Option.getOrUndefined(Duration.fromInput(input))
  if (duration === undefined) return undefined
  const value = Duration.toMillis(duration)
  return Number.isFinite(value) ? value : undefined
}
