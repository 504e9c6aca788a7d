# CMakeLists.txt is the one build description. prebuildify only knows `node-gyp rebuild`: it runs CMake.
{
  "targets": [
    {
      "target_name": "tinylora",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "message": "Building tinylora.node with CMake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/tinylora.node"],
          "action": ["node", "<(module_root_dir)/scripts/build-native.mjs", "<(PRODUCT_DIR)"]
        }
      ]
    }
  ]
}
