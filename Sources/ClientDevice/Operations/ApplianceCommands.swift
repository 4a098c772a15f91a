// What an operator asks for: appliances.

import Appliance
package import Control
import Reactor
import Registry

extension ClientDevice {
    package func appliances() async throws(ControlError) -> [ApplianceStatus] {
        var statuses: [ApplianceStatus] = []
        for name in appliances.keys.sorted() {
            if let status = await status(ofAppliance: name) { statuses.append(status) }
        }
        return statuses
    }

    package func addAppliance(_ addition: ApplianceAddition) async throws(ControlError)
        -> ApplianceStatus
    {
        let record: ApplianceRecord
        do throws(RegistryError) {
            record = try ApplianceRecord(
                name: addition.name, address: addition.address,
                failureDomain: addition.failureDomain)
        } catch {
            throw ControlError(error)
        }
        try await checkName(of: record)
        do throws(RegistryError) { try registry.addAppliance(record) } catch {
            throw ControlError(error)
        }
        do throws(ReactorError) { try meet(record) } catch {
            throw ControlError(.failed, "\(error)")
        }
        await lookAfter(addition.name)
        guard let status = await status(ofAppliance: addition.name) else {
            throw ControlError(.unavailable, "appliance \(addition.name) is gone again")
        }
        return status
    }

    /// Throws unless an appliance of the record's name answers at its address.
    private func checkName(of record: ApplianceRecord) async throws(ControlError) {
        let link: ApplianceLink
        do throws(ReactorError) {
            link = try ApplianceLink(
                to: Address(record.address), named: "new", security: configuration.security
            ) {}
        } catch {
            throw ControlError(.invalid, "\(error)")
        }
        let answer: Result<ApplianceDescription, ApplianceConnectionError>
        do throws(ApplianceConnectionError) {
            answer = .success(try await link.connect())
        } catch {
            answer = .failure(error)
        }
        await link.disconnect()
        link.stop()
        switch answer {
        case .success(let description):
            guard description.name == record.name else {
                throw ControlError(
                    .invalid, "the appliance at \(record.address) is named \(description.name)")
            }
        case .failure(let error): throw ControlError(.unavailable, error.description)
        }
    }

    package func removeAppliance(named name: String) async throws(ControlError) {
        do throws(RegistryError) {
            _ = try registry.removeAppliance(name)
        } catch {
            throw ControlError(error)
        }
        await part(from: name)
    }
}
