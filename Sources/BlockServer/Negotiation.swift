// The handshake of one connection, as a pure state machine: bytes in, bytes and a verdict out.
//
//     greeting ──client flags──▶ options ──GO, EXPORT_NAME──▶ transmission
//                                │ ▲  ├──ABORT, or what makes no sense──▶ closed
//      LIST, INFO, all others ───┘ │  └──STARTTLS──▶ the caller shakes hands ──┐
//                                  └──── nothing that was agreed on counts ◀───┘
//
// Everything that a client sends here is bounded: an option's size, the number of options, and (by the
// caller) the time that the handshake may take.

import NBDProtocol

/// What became of a connection after some input.
public enum NegotiationOutcome: Hashable, Sendable {
    /// More input is needed.
    case goesOn
    /// Send what there is, then begin TLS on the connection, and go on with `becomeSecure`.
    case startTLS
    /// The client chose an export; whatever follows is requests.
    case transmission(Export, TransmissionTerms)
    /// Send what there is, then close; the reason is for the log.
    case close(CloseReason)
}

/// The handshake of one connection.
public struct Negotiation: ~Copyable {
    /// The largest option that is accepted, in bytes: a name of the protocol's limit and all the
    /// information requests there are fit several times.
    public static let largestOption: UInt32 = 64 << 10
    /// The most options a client may send before it chooses an export.
    public static let mostOptions = 1000

    /// How many bytes of answers may wait to be sent before another option is looked at: a list of all exports
    /// is long, and easily asked for.
    public static let mostOutput = 256 << 10

    private enum State { case clientFlags, options, over }

    private var state = State.clientFlags
    private var input: [UInt8] = []
    private var sendsZeroes = true
    private var options = 0
    private let tls: TLSPolicy
    private var isSecure = false
    private var isShuttingDown = false
    private var access: ExportAccess
    private var form = MessageForm.simple
    /// What was selected last, for the export of this name.
    private var contexts: (export: String, selected: [MetaContext]) = ("", [])
    /// What is to be sent; the caller takes it.
    public var output: [UInt8] = []
    /// Options wait until the output was taken: `receive` goes on with them, also with no bytes.
    public private(set) var isHeldBack = false

    /// A handshake whose greeting is in `output`, with a client that may use what `access` says as long as
    /// it is not known.
    public init(tls: TLSPolicy = .off, access: ExportAccess = .everything) {
        self.tls = tls
        self.access = access
        output.append(wire: Wire.serverMagic)
        output.append(wire: Wire.optionMagic)
        let flags: HandshakeFlags = [.fixedNewstyle, .noZeroes]
        output.append(wire: flags.rawValue)
    }

    /// What was received after the message that ended the handshake: already requests.
    public var unread: [UInt8] { input }

    /// Takes what was received, and tells what to do after sending `output`.
    public mutating func receive(_ bytes: Span<UInt8>, catalog: ExportCatalog) -> NegotiationOutcome
    {
        for index in bytes.indices { input.append(bytes[index]) }
        isHeldBack = false
        while true {
            switch state {
            case .clientFlags:
                var reader = WireReader(input.span)
                guard let flags = reader.uint32() else { return .goesOn }
                input.removeFirst(Wire.clientFlagsSize)
                let known = ClientFlags(rawValue: flags)
                guard known.isSubset(of: .known) else { return end(.unknownClientFlags(flags)) }
                sendsZeroes = !known.contains(.noZeroes)
                state = .options
            case .options:
                guard output.count < Self.mostOutput else {
                    isHeldBack = true
                    return .goesOn
                }
                switch nextOption(catalog) {
                case .some(.goesOn): continue
                case .some(let outcome):
                    state = .over
                    return outcome
                case .none: return .goesOn
                }
            case .over:
                return .goesOn
            }
        }
    }

    /// Goes on under TLS with a client that may use what `access` says; whatever it had agreed on in the
    /// clear, where anybody could have said it, is forgotten ("NBD_OPT_STARTTLS").
    public mutating func becomeSecure(for access: ExportAccess) {
        precondition(state == .over && !isSecure, "TLS begins once, after STARTTLS")
        self.access = access
        isSecure = true
        form = .simple
        contexts = ("", [])
        state = .options
    }

    /// Refuses whatever is asked for from now on: the server is about to end ("Termination of the session
    /// during option haggling").
    public mutating func announceShutdown() { isShuttingDown = true }

    private mutating func end(_ reason: CloseReason) -> NegotiationOutcome {
        state = .over
        return .close(reason)
    }

    /// Handles one option; nil when it is not there as a whole.
    private mutating func nextOption(_ catalog: ExportCatalog) -> NegotiationOutcome? {
        guard let header = OptionHeader(input.span) else { return nil }
        guard header.magic == Wire.optionMagic else { return .close(.badOptionMagic(header.magic)) }
        guard header.length <= Self.largestOption else {
            return .close(.optionTooLarge(header.length))
        }
        let size = Wire.optionHeaderSize + Int(header.length)
        guard input.count >= size else { return nil }
        let data = Array(input[Wire.optionHeaderSize..<size])
        input.removeFirst(size)
        options += 1
        guard options <= Self.mostOptions else { return .close(.tooManyOptions) }
        if isShuttingDown { return refuseInShutdown(header.option) }
        if tls == .required, !isSecure, let refusal = refuseInTheClear(header.option) {
            return refusal
        }
        switch header.option {
        case OptionType.exportName: return exportName(data, catalog)
        case OptionType.startTLS: return startTLS(data)
        case OptionType.abort:
            output.append(reply: .ack, to: header.option)
            return .close(.aborted)
        case OptionType.list: return list(data, catalog)
        case OptionType.info, OptionType.go: return information(header.option, data, catalog)
        case OptionType.structuredReply, OptionType.extendedHeaders:
            output.append(reply: adopt(header.option, data), to: header.option)
            return .goesOn
        case OptionType.listMetaContext, OptionType.setMetaContext:
            metaContexts(header.option, data, catalog)
            return .goesOn
        default:
            output.append(reply: .errorUnsupported, to: header.option)
            return .goesOn
        }
    }

    /// What a server answers that is about to end, before TLS and under it.
    private mutating func refuseInShutdown(_ option: UInt32) -> NegotiationOutcome {
        switch option {
        case OptionType.abort:
            output.append(reply: .ack, to: option)
            return .close(.aborted)
        case OptionType.exportName: return .close(.shuttingDown)
        default: return refuse(option, .shuttingDown)
        }
    }

    /// What FORCEDTLS answers before TLS; nil for what may be asked then.
    private mutating func refuseInTheClear(_ option: UInt32) -> NegotiationOutcome? {
        switch option {
        case OptionType.startTLS, OptionType.abort: return nil
        case OptionType.exportName: return .close(.notEncrypted)
        default:
            output.append(
                reply: .errorTLSRequired, to: option, data: Array("begin with STARTTLS".utf8))
            return .goesOn
        }
    }

    /// NBD_OPT_STARTTLS.
    private mutating func startTLS(_ data: [UInt8]) -> NegotiationOutcome {
        guard tls != .off else {
            output.append(reply: .errorUnsupported, to: OptionType.startTLS)
            return .goesOn
        }
        guard data.isEmpty, !isSecure else {
            output.append(reply: .errorInvalid, to: OptionType.startTLS)
            return .goesOn
        }
        // (A client waits for the reply. What came in the clear behind the option could be anybody's, and
        // must not be taken for what the client says under TLS.)
        guard input.isEmpty else { return .close(.inTheClearAfterStartTLS) }
        output.append(reply: .ack, to: OptionType.startTLS)
        return .startTLS
    }

    /// Looks up an export that the client names.
    private func find(_ name: String, _ catalog: ExportCatalog) -> Lookup {
        // (Whether there is such an export is not told to those who may not use it.)
        guard name.isEmpty || access.covers(name) else { return .refused(.forbiddenExport(name)) }
        guard let export = catalog.find(name, for: access) else {
            return .refused(.unknownExport(name))
        }
        return .found(export)
    }

    private enum Lookup {
        case found(Export)
        case refused(CloseReason)
    }

    /// NBD_OPT_EXPORT_NAME: no reply is possible but the export's, or the end.
    private mutating func exportName(
        _ data: [UInt8], _ catalog: ExportCatalog
    ) -> NegotiationOutcome {
        var reader = WireReader(data.span)
        guard let name = reader.string(data.count) else { return .close(.badExportName) }
        switch find(name, catalog) {
        case .refused(let reason): return .close(reason)
        case .found(let export):
            if let reason = catalog.occupancy.refusal(of: export.name) { return .close(reason) }
            output.append(wire: export.size)
            output.append(wire: export.flags(form).rawValue)
            if sendsZeroes { output.append(contentsOf: repeatElement(0, count: 124)) }
            return .transmission(export, terms(of: export))
        }
    }

    private func terms(of export: Export) -> TransmissionTerms {
        TransmissionTerms(
            form: form, contexts: contexts.export == export.name ? contexts.selected : [])
    }

    /// NBD_OPT_STRUCTURED_REPLY and NBD_OPT_EXTENDED_HEADERS: each once, and no way back.
    private mutating func adopt(_ option: UInt32, _ data: [UInt8]) -> OptionReplyType {
        let wanted: MessageForm = option == OptionType.extendedHeaders ? .extended : .structured
        guard data.isEmpty, form != wanted else { return .errorInvalid }
        guard form != .extended else { return .errorExtendedHeadersRequired }
        form = wanted
        return .ack
    }

    /// NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT.
    private mutating func metaContexts(
        _ option: UInt32, _ data: [UInt8], _ catalog: ExportCatalog
    ) {
        let selects = option == OptionType.setMetaContext
        // ("Issuing this command replaces all previously-set metadata contexts", also when it fails.)
        if selects { contexts = ("", []) }
        guard form != .simple, let request = MetaContextRequest(data.span),
            request.queries.allSatisfy({ $0.contains(":") })
        else { return output.append(reply: .errorInvalid, to: option) }
        let export: Export
        switch find(request.name, catalog) {
        case .refused(let reason): return output.append(reply: reason.reply, to: option)
        case .found(let known): export = known
        }
        let found =
            selects
            ? MetaContext.selected(by: request.queries, of: export)
            : MetaContext.listed(by: request.queries, of: export)
        if selects {
            guard found.count <= MetaContext.mostSelected else {
                return output.append(reply: .errorTooBig, to: option)
            }
            contexts = (export.name, found)
        }
        for (place, context) in found.enumerated() {
            var entry: [UInt8] = []
            // (In a list the ID means nothing, and is 0.)
            entry.append(wire: selects ? context.id(at: place) : 0)
            entry.append(contentsOf: context.name.utf8)
            output.append(reply: .metaContext, to: option, data: entry)
        }
        output.append(reply: .ack, to: option)
    }

    /// NBD_OPT_LIST.
    private mutating func list(_ data: [UInt8], _ catalog: ExportCatalog) -> NegotiationOutcome {
        guard data.isEmpty else {
            output.append(reply: .errorInvalid, to: OptionType.list)
            return .goesOn
        }
        for export in catalog.exports where access.covers(export.name) {
            var entry: [UInt8] = []
            entry.append(wire: UInt32(export.name.utf8.count))
            entry.append(contentsOf: export.name.utf8)
            entry.append(contentsOf: export.description.utf8)
            output.append(reply: .server, to: OptionType.list, data: entry)
        }
        output.append(reply: .ack, to: OptionType.list)
        return .goesOn
    }

    /// NBD_OPT_INFO and NBD_OPT_GO.
    private mutating func information(
        _ option: UInt32, _ data: [UInt8], _ catalog: ExportCatalog
    ) -> NegotiationOutcome {
        guard let request = InformationRequest(data.span) else {
            output.append(reply: .errorInvalid, to: option)
            return .goesOn
        }
        let export: Export
        switch find(request.name, catalog) {
        case .refused(let reason): return refuse(option, reason)
        case .found(let known): export = known
        }
        if option == OptionType.go, let reason = catalog.occupancy.refusal(of: export.name) {
            return refuse(option, reason)
        }
        let flags = export.flags(form)
        append(.export, to: option) {
            $0.append(wire: export.size)
            $0.append(wire: flags.rawValue)
        }
        for type in Set(request.requests).sorted().compactMap(InformationType.init) {
            switch type {
            case .name: append(.name, to: option) { $0.append(contentsOf: export.name.utf8) }
            case .description:
                append(.description, to: option) { $0.append(contentsOf: export.description.utf8) }
            case .export, .blockSize: continue
            }
        }
        append(.blockSize, to: option) {
            $0.append(wire: RequestRules.smallestBlock)
            $0.append(wire: RequestRules.preferredBlock)
            $0.append(wire: RequestRules.largestPayload)
        }
        output.append(reply: .ack, to: option)
        return option == OptionType.go ? .transmission(export, terms(of: export)) : .goesOn
    }

    /// Refuses INFO or GO, and goes on.
    private mutating func refuse(_ option: UInt32, _ reason: CloseReason) -> NegotiationOutcome {
        output.append(reply: reason.reply, to: option, data: Array(reason.description.utf8))
        return .goesOn
    }

    private mutating func append(
        _ type: InformationType, to option: UInt32, _ content: (inout [UInt8]) -> Void
    ) {
        var data: [UInt8] = []
        data.append(wire: type.rawValue)
        content(&data)
        output.append(reply: .info, to: option, data: data)
    }
}
