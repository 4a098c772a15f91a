// What an operator asks for: appliances.

import Appliance
package import Control
import Registry

extension ClientDevice {
    package func appliances() async throws(ControlError) -> [ApplianceStatus] {
        appliances.keys.sorted().compactMap(status(ofAppliance:))
    }

    package func addAppliance(_ addition: ApplianceAddition) async throws(ControlError)
        -> ApplianceStatus
    {
        let name = try nameOfAppliance(at: addition.address)
        guard name == addition.name else {
            throw ControlError(.invalid, "the appliance at \(addition.address) is named \(name)")
        }
        do throws(RegistryError) {
            let record = try ApplianceRecord(
                name: addition.name, address: addition.address,
                failureDomain: addition.failureDomain)
            try registry.addAppliance(record)
            appliances[record.name] = ApplianceHandle(record: record)
        } catch {
            throw ControlError(error)
        }
        await connect(addition.name)
        guard let status = status(ofAppliance: addition.name) else {
            throw ControlError(.unavailable, "appliance \(addition.name) is gone again")
        }
        return status
    }

    private func nameOfAppliance(at address: String) throws(ControlError) -> String {
        do throws(ApplianceConnectionError) {
            return try Self.connection(to: address).describe().name
        } catch {
            throw ControlError(.unavailable, error.description)
        }
    }

    package func removeAppliance(named name: String) async throws(ControlError) {
        do throws(RegistryError) {
            _ = try registry.removeAppliance(name)
        } catch {
            throw ControlError(error)
        }
        disconnect(name)
        appliances[name] = nil
    }
}
