{
  description = "hyperhive on Nix: what agents are based on, a module for the host, a shell to work in";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in {
      # What the flake of a hive (meta) builds every agent on.
      nixosModules.agent = ./modules/agent.nix;
      nixosModules.manager = ./modules/manager.nix;

      # services.hyperhive for the host.
      nixosModules.host = ./modules/host.nix;
      nixosModules.default = self.nixosModules.host;

      # Needs the whole repository: a flake URL that ends in ?dir=nix.
      packages = each (pkgs: rec {
        hyperhive = pkgs.callPackage ./package.nix { };
        default = hyperhive;
      });

      devShells = each (pkgs: { default = import ./shell.nix { inherit pkgs; }; });
    };
}
